"""What the console holds while nobody reads."""

import socket
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from qemu import widen


class Console(unittest.TestCase):
    """The room in a socket that nobody reads."""

    def test_a_widened_console_takes_more_before_it_is_read(self) -> None:
        narrow, wide = self.taken(False), self.taken(True)
        self.assertGreater(wide, narrow)

    @staticmethod
    def taken(is_widened: bool) -> int:
        """How many bytes can be written before somebody has to read."""
        reader, writer = socket.socketpair()
        with reader, writer:
            if is_widened:
                widen(writer)
            else:
                writer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            writer.setblocking(False)
            taken = 0
            try:
                while True:
                    taken += writer.send(b"x" * 4096)
            except BlockingIOError:
                return taken


if __name__ == "__main__":
    unittest.main()
