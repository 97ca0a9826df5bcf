"""The directory of a journal: whose it is, who may look into it, who has it now.

Only its user may write to it, so nobody else can plant a link where a file is expected;
the files in it are for that user only.
The lock is flock(2) on ``journal.lock``, which the kernel drops with its process; the
file stays, because removing it would let two daemons lock two files of one name.
"""

import contextlib
import fcntl
import os
import shutil
import stat
import time
from pathlib import Path
from typing import Final, Self

from pymule.errors import JournalInUseError, JournalSetupError

__all__ = ("JournalLock",)

_NAME: Final = "journal.lock"


class JournalLock:
    """A state directory that is ours alone until :meth:`close`."""

    def __init__(self, path: Path, directory: int, lock: int) -> None:
        self.path = path
        self._directory = directory
        self._lock = lock

    @classmethod
    def take(cls, state_dir: Path) -> Self:
        """Make *state_dir* (0700) if it alone is missing, check it, and lock it.

        Raises:
            JournalInUseError: Another process has it.
            JournalSetupError: It is somebody else's, a link, or open to others.
        """
        path = Path(os.path.abspath(state_dir))  # noqa: PTH100  (resolve() follows links)
        try:
            directory = _open_directory(path)
        except OSError as exc:
            raise JournalSetupError(str(path), exc.strerror or str(exc)) from exc
        try:
            return cls(path, directory, _take_lock(path, directory))
        except OSError as exc:
            os.close(directory)
            raise JournalSetupError(
                str(path / _NAME), exc.strerror or str(exc)
            ) from exc
        except BaseException:
            os.close(directory)
            raise

    def create(self, name: str) -> int:
        """Make the new file *name*, for this user only; return its descriptor."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        return os.open(name, flags, 0o600, dir_fd=self._directory)

    def has(self, name: str) -> bool:
        """Tell whether there is a file *name*; it is for this user only, then.

        Raises:
            JournalSetupError: It is a link, no file, or somebody else's.
        """
        try:
            info = os.stat(name, dir_fd=self._directory, follow_symlinks=False)
        except FileNotFoundError:
            return False
        _check_file(self.path / name, info)
        if info.st_mode & 0o077:
            os.chmod(name, 0o600, dir_fd=self._directory)
        return True

    def remove(self, name: str) -> None:
        """Remove the file *name* if there is one."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._directory)

    def rename(self, name: str, new_name: str) -> None:
        """Give a file another name, in place of what has that name, for good."""
        os.rename(
            name, new_name, src_dir_fd=self._directory, dst_dir_fd=self._directory
        )
        self.sync()

    def free_name(self, name: str) -> str:
        """Return *name* with the time after it, and a number if that is taken."""
        name += time.strftime("-%Y%m%dT%H%M%SZ", time.gmtime())
        names = (name, *(f"{name}-{number}" for number in range(2, 1000)))
        return next(one for one in names if not self.has(one))

    def copy(self, name: str, new_name: str) -> None:
        """Copy the file *name*, if there is one, so that the disk has it."""
        if not self.has(name):
            return
        with (
            (self.path / name).open("rb") as source,
            os.fdopen(self.create(new_name), "wb") as target,
        ):
            shutil.copyfileobj(source, target)
            target.flush()
            os.fsync(target.fileno())

    def sync(self) -> None:
        """Have the names of the files on the disk."""
        os.fsync(self._directory)

    def close(self) -> None:
        """Let others have it."""
        os.close(self._lock)
        os.close(self._directory)


def _open_directory(path: Path) -> int:
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    info = os.fstat(fd)
    if info.st_uid != os.geteuid():
        fault = f"the directory belongs to user {info.st_uid}, not to this user"
    elif info.st_mode & 0o022:
        mode = stat.S_IMODE(info.st_mode)
        fault = f"the directory has mode {mode:04o}; others may not write to it"
    else:
        return fd
    os.close(fd)
    raise JournalSetupError(str(path), fault)


def _take_lock(path: Path, directory: int) -> int:
    # Without blocking, or opening a planted FIFO would hang.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    fd = os.open(_NAME, flags, 0o600, dir_fd=directory)
    try:
        _check_file(path / _NAME, os.fstat(fd))
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(fd, 0)
        os.pwrite(fd, b"%d\n" % os.getpid(), 0)
    except BlockingIOError:
        text = os.pread(fd, 20, 0).strip()
        os.close(fd)
        # Empty for the instant between its lock and its write.
        pid = int(text) if text.isdigit() else None
        raise JournalInUseError(str(path), pid) from None
    except BaseException:
        os.close(fd)
        raise
    return fd


def _check_file(path: Path, info: os.stat_result) -> None:
    is_plain = stat.S_ISREG(info.st_mode) and info.st_nlink == 1
    if not is_plain or info.st_uid != os.geteuid():
        raise JournalSetupError(str(path), "it is not a file of this user alone")
