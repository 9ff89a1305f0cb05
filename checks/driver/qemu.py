"""The emulated computer: how qemu is called, and how it ends.

Invariants: qemu never outlives this process (the kernel kills it), has no network, and writes
only to the disks of its own run. The disk survives crash and restart, as a real one does.
"""

import socket
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, List

MEMORY_MIB = 1024
"""Memory of the guest, in MiB."""

CPUS = {"kvm": 2, "tcg": 1}
"""Processors of the guest. Emulated, it has one: Linux rewrites its own code while it runs, and
with several emulated processors qemu 7.2 now and then executes a stale breakpoint of that
(`Oops: int3`); also one is not slower on a machine with two."""

TRANSLATION_CACHE_MIB = 256
"""Memory for emulated code, in MiB: enough that a boot never has to translate twice."""

CONSOLE_BUFFER_BYTES = 16 << 20
"""What qemu may write to the console before anybody reads it. What does not fit, qemu drops in
silence (hw/char/virtio-console.c), and on a busy machine the reader may be late."""

KERNEL_OPTIONS = [
    # The NVMe driver and ext4 are built into Debian's cloud kernel: no initrd is needed.
    "root=/dev/nvme0n1",
    "rootfstype=ext4",
    "rootwait",
    "rw",
    "console=ttyS0",
    "quiet",
    # On a busy machine an emulated timer may come too late for the kernel's test of it.
    "no_timer_check",
    # A kernel that panics ends the run; qemu does not reboot.
    "panic=-1",
    # What protects a real machine only costs time here.
    "mitigations=off",
    "nokaslr",
    "apparmor=0",
    "selinux=0",
    "audit=0",
]


@dataclass(frozen=True)
class Hardware:
    """What a guest is made of."""

    kernel: Path
    """bzImage of the guest's kernel."""
    disk: Path
    """Raw disk that holds the root file system."""
    transfer: Path
    """Raw disk over which files are exchanged; see transfer.py."""
    accelerator: str
    """tcg or kvm."""

    def command(self, shell_descriptor: int) -> List[str]:
        """The whole command line; the guest's console is the given socket."""
        if self.accelerator == "kvm":
            accelerator, cpu = "kvm", "host"
        else:
            # A plain processor: newer ones offer vector instructions that are slow to emulate.
            accelerator = f"tcg,tb-size={TRANSLATION_CACHE_MIB}"
            cpu = "Nehalem"
        return [
            # Killed with its parent, whatever ends that.
            *("setpriv", "--pdeathsig", "KILL", "--"),
            *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot"),
            *("-machine", "q35", "-accel", accelerator, "-cpu", cpu),
            *("-smp", str(CPUS[self.accelerator]), "-m", str(MEMORY_MIB), "-display", "none"),
            *("-kernel", str(self.kernel), "-append", " ".join(KERNEL_OPTIONS)),
            # What the guest has flushed is with the host's kernel, which outlives qemu. That is
            # enough here, so the host's own disk is not waited for (cache=unsafe). A raw disk,
            # because qcow2 keeps in qemu's own memory where new data lies, until the guest says
            # flush; the commits of a journal say FUA instead, and qemu's NVMe ignores that.
            *("-drive", f"if=none,id=root,format=raw,cache=unsafe,file={self.disk}"),
            *("-device", "nvme,drive=root,serial=root"),
            # Not a second NVMe disk: which of two becomes nvme0n1 is a race.
            *("-drive", f"if=none,id=transfer,format=raw,cache=unsafe,file={self.transfer}"),
            *("-device", "virtio-blk-pci,drive=transfer"),
            *("-chardev", f"socket,id=shell,fd={shell_descriptor}"),
            *("-device", "virtio-serial", "-device", "virtconsole,chardev=shell"),
            *("-device", "virtio-rng-pci", "-serial", "stdio"),
        ]


def widen(console: socket.socket) -> None:
    """Makes room in qemu's end of the console: as much as root may have, or anybody."""
    so_sndbufforce = 32  # asm-generic/socket.h; Python has no name for it
    try:
        console.setsockopt(socket.SOL_SOCKET, so_sndbufforce, CONSOLE_BUFFER_BYTES)
    except PermissionError:
        console.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, CONSOLE_BUFFER_BYTES)


class Computer:
    """One run of the emulated computer, from power on to power off."""

    def __init__(self, hardware: Hardware, on_serial_line: Callable[[str], None]) -> None:
        self.console, theirs = socket.socketpair()
        widen(theirs)
        with theirs:
            self._process = subprocess.Popen(
                hardware.command(theirs.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
            )
        self._on_serial_line = on_serial_line
        self._reader = threading.Thread(target=self._read_serial, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Process id of qemu."""
        return self._process.pid

    def wait(self) -> int:
        """Returns qemu's exit status once the computer is off and its last line was read."""
        status = self._process.wait()
        self._reader.join()
        return status

    def cut_power(self) -> None:
        """Ends it between two instructions. What the guest had not flushed is lost."""
        self._process.kill()
        self.wait()

    def _read_serial(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._on_serial_line(line.decode(errors="replace"))


def copy_disk(image: Path, disk: Path) -> None:
    """Makes a run's own disk of an image that itself is never written to.

    Shares blocks where the file system can, and copies no holes: a second at the most.
    """
    subprocess.run(
        ["cp", "--reflink=auto", "--sparse=always", str(image), str(disk)],
        check=True,
    )
