"""What the console holds while nobody reads."""

import os
import socket
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from qemu import CONSOLE_BUFFER_BYTES, widen


class Console(unittest.TestCase):
    """The room in a socket that nobody reads."""

    @unittest.skipUnless(os.geteuid() == 0, "only root may have more room than the system's limit")
    def test_a_widened_console_takes_all_that_a_scenario_writes_at_once(self) -> None:
        reader, writer = socket.socketpair()
        with reader, writer:
            widen(writer)
            writer.setblocking(False)
            taken = 0
            try:
                while taken < CONSOLE_BUFFER_BYTES:
                    taken += writer.send(b"x" * 4096)
            except BlockingIOError:
                pass
        self.assertGreaterEqual(taken, CONSOLE_BUFFER_BYTES)


if __name__ == "__main__":
    unittest.main()
