"""The root shell in the guest: the host's half of the NixOS test driver's backdoor protocol.

Source of the protocol: nixpkgs, nixos/lib/test-driver (host) and
nixos/modules/testing/test-instrumentation.nix (guest).

The guest prints READY_LINE once on its virtio console and from then on reads commands there.
Each command is one line that makes the shell answer with one line of base64, the command's
standard output; a second line then asks for its exit status. Nothing else is ever written to
the console, since the shell has neither prompt nor echo.

Start with BackdoorShell.run.
"""

import base64
import binascii
import shlex
import socket

READY_LINE = b"Spawning backdoor root shell..."
"""What the guest prints when its shell is about to read commands."""

CHUNK_BYTES = 65536
"""Most that is taken from the socket at once, in bytes."""

OUTPUT_NOT_READ = -2
"""Stands for the exit status of a command whose output nobody waited for."""

STATUS_NOT_READ = -1
"""Stands for the exit status of a command whose status nobody asked for."""


class ShellClosed(Exception):
    """The guest's end of the console is gone: it was shut down, crashed or rebooted."""

    def __init__(self, rest: bytes) -> None:
        super().__init__("the guest's shell is gone")
        self.rest = rest
        """What had come of the line that never ended."""


class ProtocolError(Exception):
    """The guest answered with something that is not part of the protocol."""


def command_line(command: str, timeout: "float | None") -> bytes:
    """The line that makes the guest run `command` under bash with `set -euo pipefail`.

    A timeout in seconds is kept by the guest, with timeout(1): exit status 124. The status of
    the pipeline's first part stays in PIPESTATUS until the next line.
    """
    script = shlex.quote(f"set -euo pipefail; {command}")
    limit = "" if timeout is None else f"timeout {timeout} "
    return f"{limit}bash -c {script} | (base64 -w 0; echo)\n".encode()


class BackdoorShell:
    """Runs one command after the other in the guest.

    Invariant: between two calls of run there is nothing unread on the console.
    """

    STATUS_LINE = b"echo ${PIPESTATUS[0]}\n"

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._unread = b""

    def wait_until_ready(self) -> None:
        """Returns once the guest has printed READY_LINE; raises ShellClosed if it never will."""
        while READY_LINE not in self._read_line():
            pass

    def run(
        self,
        command: str,
        check_return: bool = True,
        check_output: bool = True,
        timeout: "float | None" = None,
    ) -> "tuple[int, str]":
        """Exit status and standard output of `command`.

        Without check_output it is only sent: (OUTPUT_NOT_READ, ""). Without check_return its
        output is awaited, but not its status: (STATUS_NOT_READ, output); such a command may
        take the machine down, so the shell may close meanwhile.
        """
        self.send(command_line(command, timeout))
        if not check_output:
            return OUTPUT_NOT_READ, ""
        if not check_return:
            return STATUS_NOT_READ, self._last_output()
        output = decode_output(self._read_line())
        self.send(self.STATUS_LINE)
        return parse_status(self._read_line()), output

    def send(self, line: bytes) -> None:
        """Sends a line as it is; nobody waits for an answer."""
        try:
            self._connection.sendall(line)
        except OSError as error:
            raise ShellClosed(b"") from error

    def close(self) -> None:
        """Ends the connection; the guest is not told."""
        self._connection.close()

    def _last_output(self) -> str:
        try:
            return decode_output(self._read_line())
        except ShellClosed as closed:
            # A torn line decodes up to its last whole group of four characters.
            whole = len(closed.rest) // 4 * 4
            return decode_output(closed.rest[:whole])

    def _read_line(self) -> bytes:
        while b"\n" not in self._unread:
            try:
                chunk = self._connection.recv(CHUNK_BYTES)
            except ConnectionError:
                chunk = b""
            if not chunk:
                rest, self._unread = self._unread, b""
                raise ShellClosed(rest)
            self._unread += chunk
        line, self._unread = self._unread.split(b"\n", 1)
        return line


def decode_output(line: bytes) -> str:
    """The output that a line of base64 holds; bytes that are not UTF-8 become U+FFFD."""
    try:
        return base64.b64decode(line, validate=True).decode(errors="replace")
    except binascii.Error as error:
        raise ProtocolError(f"expected one line of base64, got {line[:200]!r}") from error


def parse_status(line: bytes) -> int:
    """The exit status that a line holds."""
    try:
        return int(line)
    except ValueError as error:
        raise ProtocolError(f"expected an exit status, got {line[:200]!r}") from error
