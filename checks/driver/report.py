"""What a scenario tells: everything into its log, the names of its subtests to the terminal.

The log is standard output, which the caller sends to a file; standard error is for people.
"""

import re
import sys
import threading
import time
from contextlib import contextmanager
from typing import Iterator

# CSI and OSC sequences, and the two-character ones (ECMA-48), as boot messages have them.
_ESCAPES = re.compile(r"\x1b(\[[0-?!]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[@-Z\\-_c])")


def plain(text: str) -> str:
    """Text without terminal escapes, carriage returns and trailing blanks."""
    return _ESCAPES.sub("", text).replace("\r", "").rstrip()


class Log:
    """The object that a script knows as `log`; safe to use from several threads."""

    def __init__(self, label: str = "") -> None:
        """`label` tells people which of several scenarios speaks."""
        self._label = label
        self._lock = threading.Lock()
        self._start = time.monotonic()

    def log(self, message: str) -> None:
        """Writes a line, with the seconds since the scenario began."""
        elapsed = time.monotonic() - self._start
        with self._lock:
            for line in message.splitlines() or [""]:
                print(f"{elapsed:7.2f} {line}", flush=True)

    info = log

    def warning(self, message: str) -> None:
        """Writes a line that stands out a little."""
        self.log(f"warning: {message}")

    def error(self, message: str) -> None:
        """Writes a line that stands out; it does not end the scenario."""
        self.log(f"error: {message}")

    def log_serial(self, line: str, machine: str) -> None:
        """Writes a line of a guest's serial console."""
        self.log(f"{machine} # {plain(line)}")

    @contextmanager
    def nested(self, message: str) -> Iterator[None]:
        """Writes what is about to be done, and afterwards how long it took."""
        self.log(message)
        start = time.monotonic()
        try:
            yield
        finally:
            self.log(f"(finished: {message}, in {time.monotonic() - start:.2f} seconds)")

    @contextmanager
    def subtest(self, name: str) -> Iterator[None]:
        """A named part of a scenario; a failure inside is reported under its name and goes on."""
        self.log(f"subtest: {name}")
        start = time.monotonic()
        try:
            yield
        except BaseException as error:
            self.error(f"subtest {name!r} failed: {type(error).__name__}: {error}")
            self.progress(f"  FAILED  {name}: {error}")
            raise
        self.progress(f"  ok  {name} ({time.monotonic() - start:.1f} s)")

    def progress(self, message: str) -> None:
        """Tells people, and the log."""
        self.log(message.strip())
        print(f"{self._label}{message}", file=sys.stderr, flush=True)
