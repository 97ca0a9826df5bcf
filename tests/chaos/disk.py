"""Disks that can be filled, and disks whose power can be cut.

Both are mounted in a mount namespace of the process that asks (:func:`own_mounts`), so
that the kernel unmounts them when its last process is gone, whatever became of it.
Only what is below a directory made here is ever unmounted or removed.

The power cut is ext4's own: ``EXT4_IOC_SHUTDOWN`` with ``NOLOGFLUSH`` forgets at once
all that no fsync has brought to the disk, and fails whatever comes later with EIO. The
disk is a file on a loop device. Source: Linux, ``fs/ext4/ioctl.c``.
"""

import ctypes
import fcntl
import os
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

__all__ = ("PowerDisk", "own_mounts", "small_disk", "why_no_mounts", "why_no_power_cut")

_CLONE_NEWNS: Final = 0x00020000
# _IOR('X', 125, __u32), and EXT4_GOING_FLAGS_NOLOGFLUSH.
_EXT4_IOC_SHUTDOWN: Final = 0x8004587D
_NOLOGFLUSH: Final = 2


def why_no_mounts() -> str | None:
    """Return why this process may not mount, or ``None`` if it may."""
    if os.geteuid() != 0:
        return "mounting needs root"
    if shutil.which("mount") is None:
        return "there is no mount(8)"
    mount = ["mount", "-t", "tmpfs", "none", tempfile.gettempdir()]
    return _failure(["unshare", "--mount", *mount])


def why_no_power_cut() -> str | None:
    """Return why no power can be cut here, or ``None`` if it can."""
    if (reason := why_no_mounts()) is not None:
        return reason
    for tool in ("mkfs.ext4", "losetup"):
        if shutil.which(tool) is None:
            return f"there is no {tool}"
    return _failure(["losetup", "--find"])


def _failure(words: list[str]) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603  (words of this module)
            words, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as exc:
        return str(exc)
    return None if done.returncode == 0 else f"{' '.join(words)}: {done.stderr.strip()}"


def own_mounts() -> None:
    """Mount from now on in a namespace of this process and those that it starts.

    To be called in a process with one thread.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNS)")
    # Else what is mounted here would show outside.
    _run("mount", "--make-rprivate", "/")


@contextmanager
def small_disk(size_bytes: int) -> Iterator[Path]:
    """Mount a tmpfs of that size, which somebody can fill."""
    with _mount_point() as path:
        _run("mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(path))
        try:
            yield path
        finally:
            _unmount(path)


class PowerDisk:
    """An ext4 on a file, mounted at ``path`` while the power is on.

    Made by :meth:`plugged`.
    """

    def __init__(self, image: Path, path: Path) -> None:
        self._image = image
        self.path = path

    @classmethod
    @contextmanager
    def plugged(cls, size_bytes: int = 64 * 1024 * 1024) -> Iterator["PowerDisk"]:
        """Make one, with the power on; nothing of it is left afterwards."""
        with _mount_point() as path:
            image = path.with_name("image")
            with image.open("wb") as file:
                file.truncate(size_bytes)
            _run("mkfs.ext4", "-q", "-F", str(image))
            disk = cls(image, path)
            disk.turn_on()
            try:
                yield disk
            finally:
                disk.turn_off()

    def turn_on(self) -> None:
        """Mount it, which replays what its journal has."""
        _run("mount", "-o", "loop", str(self._image), str(self.path))

    def cut(self) -> None:
        """Cut the power: what was not synced is gone, and nothing can be written."""
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(fd, _EXT4_IOC_SHUTDOWN, struct.pack("I", _NOLOGFLUSH))
        finally:
            os.close(fd)

    def turn_off(self) -> None:
        """Unmount it; nobody may have anything open on it."""
        if self.path.is_mount():
            _unmount(self.path)


@contextmanager
def _mount_point() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="disk-"))
    try:
        path = directory / "mounted"
        path.mkdir()
        yield path
    finally:
        # Never what is mounted: an unmount that failed has raised.
        if not (directory / "mounted").is_mount():
            shutil.rmtree(directory)


def _unmount(path: Path) -> None:
    # A process that was killed may still be on its way out.
    last = subprocess.CompletedProcess[str]([], 0)
    for _ in range(50):
        last = subprocess.run(  # noqa: S603  (our own mount point)
            ["umount", str(path)],  # noqa: S607  (wherever the system has it)
            capture_output=True,
            text=True,
            check=False,
        )
        if last.returncode == 0:
            return
        time.sleep(0.1)
    raise OSError(f"umount {path}: {last.stderr.strip()}")


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)  # noqa: S603
