"""Files between host and guest: a tar archive on a second disk that both sides see.

Debian's cloud kernel has no 9p, which NixOS tests use, and the console is slow for programs.
The archive starts at the disk's first byte. The guest reads and writes past its cache
(O_DIRECT), because to the guest the disk changes by itself. Start with TransferDisk.put.
"""

import shlex
import tarfile
from pathlib import Path, PurePosixPath

GUEST_DEVICE = "/dev/vda"
"""The disk, as the guest sees it."""

DISK_BYTES = 1 << 30
"""Size of the disk, and so of what can be copied at once, in bytes; the file is sparse."""

BLOCK_BYTES = 1 << 20
"""Unit in which the guest reads and writes, in bytes: a multiple of any disk's sector."""


class TooLarge(Exception):
    """What was to be copied does not fit on the disk."""


class TransferDisk:
    """The host's side of the disk, and the commands for the guest's side."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with open(path, "wb") as disk:
            disk.truncate(DISK_BYTES)

    def put(self, source: Path) -> int:
        """Writes a file or directory to the disk; returns its length in blocks.

        Symbolic links are followed, owner and group become root, modes are kept.
        """
        with open(self.path, "r+b") as disk:
            with tarfile.open(fileobj=disk, mode="w", dereference=True) as archive:
                archive.add(source, arcname=source.name, filter=_owned_by_root)
            end = disk.tell()
            disk.truncate(DISK_BYTES)
        if end > DISK_BYTES:
            raise TooLarge(f"{source} makes {end} bytes, the disk has {DISK_BYTES}")
        # What an earlier, longer archive left in the last block does not matter to tar.
        return -(-end // BLOCK_BYTES)

    def take(self, directory: Path) -> None:
        """Unpacks into `directory` what the guest has put on the disk."""
        directory.mkdir(parents=True, exist_ok=True)
        with tarfile.open(self.path, mode="r:") as archive:
            # Python before 3.11.4 knows no filters; Debian 12 has 3.11.2.
            if hasattr(tarfile, "data_filter"):
                archive.extractall(directory, filter="data")
            else:
                archive.extractall(directory)


def unpack_command(name: str, blocks: int, target: str) -> str:
    """The guest's command that copies the entry `name` from the disk to `target`, as cp -r."""
    parent = shlex.quote(str(PurePosixPath(target).parent))
    return (
        f"mkdir -p {parent}; transfer=$(mktemp -d); "
        f"dd if={GUEST_DEVICE} iflag=direct bs={BLOCK_BYTES} count={blocks} status=none"
        # tar stops at the archive's end; the rest of the last block is taken by cat.
        ' | { tar -x -C "$transfer"; cat >/dev/null; }; '
        f'cp -r "$transfer"/{shlex.quote(name)} {shlex.quote(target)}; rm -r "$transfer"'
    )


def pack_command(source: str) -> str:
    """The guest's command that writes `source` to the disk, following symbolic links."""
    path = PurePosixPath(source)
    return (
        f"tar -c -h -C {shlex.quote(str(path.parent))} {shlex.quote(path.name)}"
        f" | dd of={GUEST_DEVICE} oflag=direct iflag=fullblock bs={BLOCK_BYTES}"
        " conv=fsync status=none"
    )


def _owned_by_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return entry
