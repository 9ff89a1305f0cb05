"""The machine, as a script sees it: the Machine API of NixOS tests over the root shell.

Method names, parameters, defaults and meaning are those of the NixOS test driver (nixpkgs,
nixos/lib/test-driver), so that one testScript serves both. Start with Machine.execute.
"""

import shlex
from pathlib import Path, PurePosixPath
from typing import Callable, Dict, Optional, Tuple

from qemu import Computer, Hardware
from report import Log
from shell import BackdoorShell
from transfer import TransferDisk, pack_command, unpack_command
from waiting import DEFAULT_TIMEOUT_SECONDS, retry

EXECUTE_TIMEOUT_SECONDS = 900
"""How long execute lets a command run unless the script says otherwise."""


class CheckFailed(Exception):
    """What the script demanded of the machine is not so."""


class Machine:
    """One computer with its disk, switched on and off at will."""

    def __init__(
        self,
        name: str,
        hardware: Hardware,
        transfer: TransferDisk,
        out_dir: Path,
        log: Log,
    ) -> None:
        self.name = name
        self.out_dir = out_dir
        self._hardware = hardware
        self._transfer = transfer
        self._log = log
        self._computer: Optional[Computer] = None
        self._shell: Optional[BackdoorShell] = None

    def __repr__(self) -> str:
        return f"<Machine {self.name!r}>"

    # Power.

    @property
    def booted(self) -> bool:
        """Whether the computer is on, as far as this side was told."""
        return self._computer is not None

    @property
    def connected(self) -> bool:
        """Whether the root shell has answered since the computer was switched on."""
        return self._shell is not None

    def is_up(self) -> bool:
        """Whether the computer is on and its shell has answered."""
        return self.booted and self.connected

    def start(self) -> None:
        """Switches the computer on; it is not waited for. Does nothing if it is on."""
        if self._computer is not None:
            return
        self.log("starting")
        self._computer = Computer(
            self._hardware, lambda line: self._log.log_serial(line, self.name)
        )
        self.log(f"qemu runs (pid {self._computer.pid})")

    def connect(self) -> None:
        """Waits for the root shell, after switching the computer on if need be."""
        if self._shell is not None:
            return
        self.start()
        assert self._computer is not None
        with self.nested("waiting for the machine to boot"):
            shell = BackdoorShell(self._computer.console)
            shell.wait_until_ready()
            self._shell = shell

    def wait_for_shutdown(self) -> None:
        """Waits until the computer is off; does not make it so."""
        if self._computer is None:
            return
        with self.nested("waiting for the machine to power off"):
            self._computer.wait()
        self._switched_off()

    def shutdown(self) -> None:
        """Shuts the system down in order and waits until the computer is off."""
        if self._computer is None:
            return
        self.connect()
        assert self._shell is not None
        self._shell.send(b"poweroff\n")
        self.wait_for_shutdown()

    def crash(self) -> None:
        """Cuts the power. The disk keeps what the guest had flushed, and maybe more."""
        if self._computer is None:
            return
        self.log("forced crash")
        self._computer.cut_power()
        self._switched_off()

    # Commands.

    def execute(
        self,
        command: str,
        check_return: bool = True,
        check_output: bool = True,
        timeout: Optional[int] = EXECUTE_TIMEOUT_SECONDS,
    ) -> Tuple[int, str]:
        """Exit status and standard output of a command that bash runs as root.

        It runs with `set -euo pipefail` and is over when everything that holds its standard
        output is. A timeout in seconds makes the status 124. See BackdoorShell.run.
        """
        self.connect()
        assert self._shell is not None
        return self._shell.run(command, check_return, check_output, timeout)

    def succeed(self, *commands: str, timeout: Optional[int] = None) -> str:
        """Runs the commands in order and returns their joined output; each has to exit with 0."""
        output = ""
        for command in commands:
            with self.nested(f"must succeed: {command}"):
                status, out = self.execute(command, timeout=timeout)
                if status != 0:
                    self.log(f"output: {out}")
                    raise CheckFailed(f"command `{command}` failed (exit code {status})")
                output += out
        return output

    def fail(self, *commands: str, timeout: Optional[int] = None) -> str:
        """As succeed, but none of the commands may exit with 0."""
        output = ""
        for command in commands:
            with self.nested(f"must fail: {command}"):
                status, out = self.execute(command, timeout=timeout)
                if status == 0:
                    self.log(f"output: {out}")
                    raise CheckFailed(f"command `{command}` unexpectedly succeeded")
                output += out
        return output

    def wait_until_succeeds(self, command: str, timeout: int = DEFAULT_TIMEOUT_SECONDS) -> str:
        """Repeats a command until it exits with 0; returns the output of that last time."""
        return self._wait_for_status(command, timeout, "success", lambda status: status == 0)

    def wait_until_fails(self, command: str, timeout: int = DEFAULT_TIMEOUT_SECONDS) -> str:
        """Repeats a command until it does not exit with 0; returns that last time's output."""
        return self._wait_for_status(command, timeout, "failure", lambda status: status != 0)

    def sleep(self, secs: int) -> None:
        """Lets the guest sleep, in its own time."""
        self.succeed(f"sleep {secs}")

    # Services.

    def systemctl(self, q: str, user: Optional[str] = None) -> Tuple[int, str]:
        """Runs systemctl with these arguments, for the user's manager if one is named."""
        if user is None:
            return self.execute(f"systemctl {q}")
        inner = f"XDG_RUNTIME_DIR=/run/user/$(id -u) systemctl --user {q}"
        return self.execute(f"su -l {user} --shell /bin/sh -c {shlex.quote(inner)}")

    def start_job(self, jobname: str, user: Optional[str] = None) -> Tuple[int, str]:
        """Starts a unit."""
        return self.systemctl(f"start {jobname}", user)

    def stop_job(self, jobname: str, user: Optional[str] = None) -> Tuple[int, str]:
        """Stops a unit."""
        return self.systemctl(f"stop {jobname}", user)

    def get_unit_info(self, unit: str, user: Optional[str] = None) -> Dict[str, str]:
        """All properties of a unit."""
        status, lines = self.systemctl(f'--no-pager show "{unit}"', user)
        if status != 0:
            raise CheckFailed(f'asking for unit "{unit}" failed (exit code {status})')
        pairs = (line.split("=", 1) for line in lines.splitlines() if "=" in line)
        return {key: value for key, value in pairs}

    def get_unit_property(self, unit: str, property: str, user: Optional[str] = None) -> str:
        """One property of a unit."""
        status, line = self.systemctl(f'--no-pager show "{unit}" --property="{property}"', user)
        name, separator, value = line.rstrip("\n").partition("=")
        if status != 0 or not separator or name != property:
            raise CheckFailed(
                f'asking for property "{property}" of unit "{unit}" gave {line!r} '
                f"(exit code {status})"
            )
        return value

    def require_unit_state(self, unit: str, require_state: str = "active") -> None:
        """Demands that a unit is in this state now."""
        state = self.get_unit_property(unit, "ActiveState")
        if state != require_state:
            raise CheckFailed(f'unit "{unit}" is {state}, not {require_state}')

    def wait_for_unit(
        self, unit: str, user: Optional[str] = None, timeout: int = DEFAULT_TIMEOUT_SECONDS
    ) -> None:
        """Waits until a unit is active.

        Raises at once if it has failed, or is inactive while no job is pending.
        """

        def is_active(_last_try: bool) -> bool:
            state = self.get_unit_property(unit, "ActiveState", user)
            if state == "failed":
                raise CheckFailed(f'unit "{unit}" reached state "failed"')
            if state == "inactive":
                _, jobs = self.systemctl("list-jobs --full 2>&1", user)
                # A job that ended between the two questions may have changed the state.
                if "No jobs" in jobs:
                    if self.get_unit_property(unit, "ActiveState", user) == state:
                        raise CheckFailed(
                            f'unit "{unit}" is inactive and there are no pending jobs'
                        )
            return state == "active"

        self._wait(f"waiting for unit {unit}", is_active, timeout)

    # Files and sockets.

    def wait_for_file(self, filename: str, timeout: int = DEFAULT_TIMEOUT_SECONDS) -> None:
        """Waits until a file exists. The name is not quoted: a pattern may be given."""
        self._wait_for_command(f"waiting for file {filename}", f"test -e {filename}", timeout)

    def wait_for_open_port(
        self, port: int, addr: str = "localhost", timeout: int = DEFAULT_TIMEOUT_SECONDS
    ) -> None:
        """Waits until somebody listens on a TCP port."""
        what = f"waiting for TCP port {port} on {addr}"
        self._wait_for_command(what, f"nc -z {addr} {port}", timeout)

    def wait_for_closed_port(
        self, port: int, addr: str = "localhost", timeout: int = DEFAULT_TIMEOUT_SECONDS
    ) -> None:
        """Waits until nobody listens on a TCP port."""
        what = f"waiting for TCP port {port} on {addr} to be closed"
        self._wait_for_command(what, f"! nc -z {addr} {port}", timeout)

    def wait_for_open_unix_socket(
        self, addr: str, is_datagram: bool = False, timeout: int = DEFAULT_TIMEOUT_SECONDS
    ) -> None:
        """Waits until somebody listens on a Unix socket."""
        flags = "-uU" if is_datagram else "-U"
        what = f"waiting for the Unix socket {addr}"
        self._wait_for_command(what, f"nc -z {flags} {addr}", timeout)

    def copy_from_host(self, source: str, target: str) -> None:
        """Copies a file or directory into the guest, as `cp -r` would."""
        with self.nested(f"copying {source} into the machine as {target}"):
            # Nothing of the guest may be between the disk and the archive.
            self.connect()
            path = Path(source)
            blocks = self._transfer.put(path)
            self.succeed(unpack_command(path.name, blocks, target))

    def copy_from_vm(self, source: str, target_dir: str = "") -> None:
        """Copies a file or directory out of the guest, below the scenario's output directory."""
        with self.nested(f"copying {source} out of the machine"):
            self.succeed(pack_command(source))
            self._transfer.take(self.out_dir / target_dir)
            assert (self.out_dir / target_dir / PurePosixPath(source).name).exists()

    copy_from_machine = copy_from_vm

    # Reporting.

    def log(self, message: str) -> None:
        """Writes a line about this machine into the log."""
        self._log.log(f"{self.name}: {message}")

    def nested(self, message: str):
        """See Log.nested."""
        return self._log.nested(f"{self.name}: {message}")

    def _switched_off(self) -> None:
        if self._computer is not None:
            self._computer.console.close()
        self._computer = None
        self._shell = None

    def _wait_for_status(
        self, command: str, timeout: int, wanted: str, is_it: Callable[[int], bool]
    ) -> str:
        output = ""

        def has_come(last_try: bool) -> bool:
            nonlocal output
            status, output = self.execute(command, timeout=timeout)
            if last_try and not is_it(status):
                self.log(f"exit code {status}, output: {output}")
            return is_it(status)

        self._wait(f"waiting for {wanted}: {command}", has_come, timeout)
        return output

    def _wait_for_command(self, what: str, command: str, timeout: int) -> None:
        self._wait(what, lambda _last_try: self.execute(command)[0] == 0, timeout)

    def _wait(self, what: str, condition: Callable[[bool], bool], timeout: int) -> None:
        with self.nested(what):
            retry(condition, timeout)
