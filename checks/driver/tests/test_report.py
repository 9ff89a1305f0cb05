"""What the log makes of a guest's console."""

import contextlib
import io
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from report import Log, plain


class Report(unittest.TestCase):
    """Lines, and subtests that fail."""

    def test_terminal_escapes_leave_no_trace(self) -> None:
        line = "\x1b[!p\x1b]104\x07\x1b[?7h[  8.0] \x1b[0;1;39mSystem is tainted\x1b[0m \r\n"
        self.assertEqual(plain(line), "[  8.0] System is tainted")
        self.assertEqual(plain("\x1b[0;1;38:5:185mexited\x1b[0m"), "exited")

    def test_a_failing_subtest_is_told_to_people_and_goes_on_failing(self) -> None:
        log, terminal = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(log), contextlib.redirect_stderr(terminal):
            with self.assertRaises(ValueError):
                with Log("sums:").subtest("the sum"):
                    raise ValueError("is wrong")
        self.assertIn("sums:  FAILED  the sum: is wrong", terminal.getvalue())
        self.assertIn("subtest 'the sum' failed: ValueError: is wrong", log.getvalue())


if __name__ == "__main__":
    unittest.main()
