"""Runs one scenario in one machine: `python3 checks/driver --help`.

In order: a fresh copy of the image, boot, the scenario's files and its debian.sh, then its
testScript with the names that a NixOS test has. Exit status: 0 passed, 1 failed, 3 out of time;
with --probe, 0 if a guest boots. Whatever happens, no machine is left running.
"""

import argparse
import contextlib
import shlex
import shutil
import signal
import sys
import traceback
from pathlib import Path
from typing import Iterator, Optional

from machine import Machine
from qemu import Computer, Hardware, copy_disk
from report import Log
from shell import BackdoorShell, ShellClosed
from transfer import TransferDisk
from waiting import retry

FAILED = 1
OUT_OF_TIME = 3

GUEST_FILES = "/root/scenario"
"""Where the scenario's own files are in the guest."""


COMMON = "common.py"
"""Beside the scenarios' folders: what all of their scripts may use."""


class OutOfTime(BaseException):
    """The scenario's time is up. Not an Exception: no script catches it by accident."""


def main() -> int:
    """Parses the command line and runs what it asks for."""
    options = parse_options()
    log = Log(options.label)
    options.run_dir.mkdir(parents=True, exist_ok=True)
    try:
        with time_limit(options.time_limit):
            if options.probe:
                probe(options, log)
            else:
                run_scenario(options, log)
    except OutOfTime:
        log.error(f"not over within {options.time_limit} seconds")
        return OUT_OF_TIME
    except Exception:
        log.error(traceback.format_exc())
        return FAILED
    finally:
        if not options.keep:
            shutil.rmtree(options.run_dir, ignore_errors=True)
    return 0


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="checks/driver", description=__doc__)
    required = {"type": Path, "required": True}
    parser.add_argument("--kernel", help="bzImage of the guest", **required)
    parser.add_argument("--image", help="raw image of its root file system", **required)
    parser.add_argument("--run-dir", help="directory for this run's disks", **required)
    parser.add_argument("--accelerator", choices=["tcg", "kvm"], default="tcg")
    parser.add_argument("--time-limit", type=float, required=True, help="seconds for everything")
    parser.add_argument("--keep", action="store_true", help="leave the run's disks behind")
    parser.add_argument("--label", default="", help="goes before what is told to people")
    parser.add_argument("--probe", action="store_true", help="only see whether a guest boots")
    parser.add_argument("--out-dir", type=Path, default=Path("out"), help="for copy_from_vm")
    parser.add_argument("--files", type=Path, help="directory copied into the guest")
    parser.add_argument("script", type=Path, nargs="?", help="testScript.py")
    options = parser.parse_args()
    if not options.probe and options.script is None:
        parser.error("a script is needed")
    return options


def run_scenario(options: argparse.Namespace, log: Log) -> None:
    """Prepares the guest, runs the script, and switches the machine off."""
    transfer = TransferDisk(options.run_dir / "transfer.raw")
    hardware = hardware_of(options)
    machine = Machine("machine", hardware, transfer, options.out_dir, log)
    try:
        if options.files is not None:
            prepare(machine, options.files)
        run_script(options.script, machine, log)
    finally:
        if options.keep:
            log.log("to start this machine again: " + shlex.join(hardware.command(0)))
        machine.crash()


def prepare(machine: Machine, files: Path) -> None:
    """Copies the scenario's files into the guest and runs its debian.sh there, if it has one."""
    machine.copy_from_host(str(files), GUEST_FILES)
    if (files / "debian.sh").exists():
        machine.succeed(f"cd {GUEST_FILES}; sh ./debian.sh")
    # What the script does to the power must not take the preparation away.
    machine.succeed("sync")


def run_script(script: Path, machine: Machine, log: Log) -> None:
    """Executes a testScript with the names that the NixOS test driver gives it."""
    names = {
        "machine": machine,
        "machines": [machine],
        "start_all": machine.start,
        "subtest": log.subtest,
        "log": log,
        "retry": retry,
    }
    # As a NixOS test does it: both are one text there (checks/nixos.nix). A script from elsewhere,
    # a measurement, has nothing beside its folder.
    common = script.parent.parent / COMMON
    for part in [common, script] if common.exists() else [script]:
        exec(compile(part.read_text(), str(part), "exec"), names)


def probe(options: argparse.Namespace, log: Log) -> None:
    """Returns once a guest with this accelerator has offered its shell; raises if it ends."""
    TransferDisk(options.run_dir / "transfer.raw")
    computer: Optional[Computer] = None
    try:
        computer = Computer(hardware_of(options), lambda line: log.log_serial(line, "probe"))
        BackdoorShell(computer.console).wait_until_ready()
    except ShellClosed:
        raise RuntimeError("the guest ended before its shell was there") from None
    finally:
        if computer is not None:
            computer.cut_power()


def hardware_of(options: argparse.Namespace) -> Hardware:
    """The machine's parts, with a fresh disk."""
    disk = options.run_dir / "root.raw"
    copy_disk(options.image, disk)
    return Hardware(
        kernel=options.kernel,
        disk=disk,
        transfer=options.run_dir / "transfer.raw",
        accelerator=options.accelerator,
    )


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises OutOfTime in the block when it takes longer; SIGTERM ends the block as well."""

    def expired(_signal: int, _frame: object) -> None:
        raise OutOfTime

    def ended(_signal: int, _frame: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    signal.signal(signal.SIGALRM, expired)
    signal.signal(signal.SIGTERM, ended)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    sys.exit(main())
