"""The archive on the second disk; the guest's commands run here, on a file for a disk."""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import transfer
from transfer import BLOCK_BYTES, TooLarge, TransferDisk, pack_command, unpack_command


class Transfer(unittest.TestCase):
    """Both directions, through one disk."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.here = Path(directory.name)
        self.disk = TransferDisk(self.here / "disk")

    def in_guest(self, command: str) -> None:
        """Runs a guest's command with the disk at hand; without O_DIRECT, which files may lack."""
        local = command.replace(transfer.GUEST_DEVICE, str(self.disk.path))
        local = local.replace("iflag=direct ", "").replace("oflag=direct ", "conv=notrunc ")
        local = local.replace(" conv=fsync", "")
        subprocess.run(["bash", "-c", f"set -euo pipefail; {local}"], check=True)

    def test_a_tree_comes_in_with_its_modes(self) -> None:
        tree = self.here / "tree"
        tree.mkdir()
        (tree / "tool").write_bytes(b"x" * (3 * BLOCK_BYTES))
        (tree / "tool").chmod(0o755)
        blocks = self.disk.put(tree)
        self.in_guest(unpack_command("tree", blocks, str(self.here / "new" / "copy")))
        copy = self.here / "new" / "copy" / "tool"
        self.assertEqual(copy.read_bytes(), b"x" * (3 * BLOCK_BYTES))
        self.assertEqual(copy.stat().st_mode & 0o777, 0o755)

    def test_a_short_archive_after_a_long_one_is_not_mixed_with_it(self) -> None:
        long, short = self.here / "long", self.here / "short"
        long.write_bytes(b"l" * (2 * BLOCK_BYTES))
        short.write_bytes(b"s")
        self.disk.put(long)
        blocks = self.disk.put(short)
        self.in_guest(unpack_command("short", blocks, str(self.here / "copy")))
        self.assertEqual((self.here / "copy").read_bytes(), b"s")

    def test_what_the_guest_packs_comes_out(self) -> None:
        source = self.here / "it's a file"
        source.write_bytes(b"content" * 100_000)
        self.in_guest(pack_command(str(source)))
        self.disk.take(self.here / "out")
        self.assertEqual((self.here / "out" / "it's a file").read_bytes(), source.read_bytes())

    def test_what_does_not_fit_is_refused_and_the_disk_keeps_its_size(self) -> None:
        source = self.here / "source"
        source.write_bytes(b"x" * (2 * BLOCK_BYTES))
        with mock.patch.object(transfer, "DISK_BYTES", BLOCK_BYTES):
            disk = TransferDisk(self.here / "small")
            with self.assertRaisesRegex(TooLarge, "source"):
                disk.put(source)
            self.assertEqual(disk.path.stat().st_size, BLOCK_BYTES)


if __name__ == "__main__":
    unittest.main()
