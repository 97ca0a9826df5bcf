"""Where durable peers keep their state: on a disk, never in memory."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil

__all__ = ("disk_folder", "file_system", "used_bytes")

_PLACE: Final = "PYMULE_BENCH_DISK"
"""Names a folder on the disk that is to be measured."""
_IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})
_BLOCK_BYTES: Final = 512


def disk_folder() -> Path:
    """Return the folder that the environment names, or the first one on a disk.

    Raises:
        OSError: All of them are in memory, where an fsync costs nothing.
    """
    named = os.environ.get(_PLACE)
    usual = (tempfile.gettempdir(), "/var/tmp", ".")  # noqa: S108  (a new one in it)
    places = [Path(place) for place in ((named,) if named else usual)]
    for place in places:
        if _mount_of(place)[0] not in _IN_MEMORY:
            return place
    raise OSError(f"no disk at {', '.join(map(str, places))}; {_PLACE} names another")


def file_system(folder: Path) -> str:
    """Return what holds *folder*, as in ``ext4 on /dev/vda``."""
    kind, device = _mount_of(folder)
    return f"{kind} on {device}"


def used_bytes(folder: Path) -> int:
    """Return what the files below *folder* take from the disk."""
    return sum(_blocks(folder)) * _BLOCK_BYTES


def _blocks(folder: Path) -> Iterator[int]:
    for path in folder.rglob("*"):
        try:
            yield path.lstat().st_blocks
        except FileNotFoundError:
            # It went away since it was listed.
            continue


def _mount_of(folder: Path) -> tuple[str, str]:
    parents = {str(folder.resolve()), *map(str, folder.resolve().parents)}
    mounts = [
        mount
        for mount in psutil.disk_partitions(all=True)
        if mount.mountpoint in parents
    ]
    # Of two at the same place, the later one covers the earlier.
    mount = max(reversed(mounts), key=lambda mount: len(mount.mountpoint))
    return mount.fstype, mount.device
