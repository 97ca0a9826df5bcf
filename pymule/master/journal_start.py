"""From a state directory to an open database that can be trusted."""

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from pymule.errors import (
    JournalDamagedError,
    JournalFormatError,
    JournalSetupError,
    StorageFullError,
)
from pymule.master.journal_file import (
    APPLICATION_ID,
    FORMAT,
    NAME,
    WAL_NAME,
    JournalFile,
    journal_error,
)
from pymule.master.journal_lock import JournalLock
from pymule.master.journal_migrate import migrate
from pymule.master.journal_wal import commits_in
from pymule.master.journal_writer import FAILED_NAME

__all__ = (
    "NEW_NAME",
    "check_format",
    "finish_new",
    "open_file",
    "rebuild",
    "remove_new",
)

_MAGIC: Final = b"SQLite format 3\0"
NEW_NAME: Final = "journal.new"
_NEXT_NAME: Final = "journal.next"
"""A new file that is whole, and takes the place of the other."""


@contextmanager
def translated(lock: JournalLock) -> Iterator[None]:
    """Raise what goes wrong in an open journal as an error of ours."""
    path = lock.path / NAME
    try:
        yield
    except sqlite3.Error as exc:
        raise journal_error(exc, path) from exc
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFullError(str(path)) from exc
        reason = exc.strerror or str(exc)
        raise JournalSetupError(str(path), reason) from exc


def open_file(lock: JournalLock) -> JournalFile:
    """Open the journal of the directory, or make one; check it if there is reason to.

    Raises:
        JournalDamagedError: It is no database, or one with faults.
        JournalFormatError: A newer version of pymule wrote it; nothing was touched.
        sqlite3.Error: Anything else.
    """
    path = lock.path / NAME
    remove_new(lock)
    if lock.has(_NEXT_NAME):
        _replace(lock)
    if not lock.has(NAME):
        if lock.has(WAL_NAME):
            raise JournalDamagedError(str(path), f"it is missing; {WAL_NAME} is there")
        os.close(lock.create(NAME))
        file = JournalFile(path)
        lock.sync()
        return file
    if check_format(path) < FORMAT:
        migrate(lock)
    file = _open_counting(lock)
    try:
        if lock.has(FAILED_NAME):
            file.close()
            rebuild(lock)
            lock.remove(FAILED_NAME)
            lock.sync()
            lost_commits, file = file.lost_commits, JournalFile(path)
            file.lost_commits = lost_commits
        elif not file.one("SELECT clean FROM meta"):
            file.check()
    except BaseException:
        file.close()
        raise
    return file


def _open_counting(lock: JournalLock) -> JournalFile:
    """Open it, and count what SQLite does not take of the WAL."""
    path = lock.path / NAME
    commits = commits_in(lock.path / WAL_NAME) if lock.has(WAL_NAME) else []
    file = JournalFile(path)
    try:
        if commits:
            taken = file.checkpoint()
            file.lost_commits = sum(number > taken for number in commits)
    except BaseException:
        file.close()
        raise
    return file


def check_format(path: Path) -> int:
    """Return the format of the file at *path*, which is not changed by that.

    Raises:
        JournalDamagedError: It is no journal.
        JournalFormatError: It is of a newer format.
    """
    with path.open("rb") as stream:
        header = stream.read(100)
    if not header:
        # Its making was interrupted.
        return FORMAT
    found = int.from_bytes(header[60:64])
    application = int.from_bytes(header[68:72])
    if len(header) < 100 or not header.startswith(_MAGIC):  # noqa: PLR2004  (bytes of SQLite's header)
        raise JournalDamagedError(str(path), "it is no SQLite database")
    if (found, application) == (0, 0):
        return FORMAT
    if application != APPLICATION_ID:
        raise JournalDamagedError(
            str(path),
            f"application id {application:#x}; a journal has {APPLICATION_ID:#x}",
        )
    if found > FORMAT:
        raise JournalFormatError(str(path), found, FORMAT)
    return found


def rebuild(lock: JournalLock) -> None:
    """Write all that is in the journal into a new file, which takes its place.

    After a failed fsync the old file may be whole in memory and not on the disk.

    Raises:
        JournalDamagedError: The old one has faults.
    """
    with closing(JournalFile(lock.path / NAME)) as file:
        file.check(is_thorough=True)
        remove_new(lock)
        os.close(lock.create(NEW_NAME))
        file.connection.execute("VACUUM INTO ?", (str(lock.path / NEW_NAME),))
    finish_new(lock)


def remove_new(lock: JournalLock) -> None:
    """Remove a new file that was not finished."""
    lock.remove(NEW_NAME)
    lock.remove(f"{NEW_NAME}-wal")


def finish_new(lock: JournalLock) -> None:
    """Let the new file, which is whole, take the place of the journal."""
    fd = os.open(lock.path / NEW_NAME, os.O_RDWR | os.O_NOFOLLOW)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    lock.rename(NEW_NAME, _NEXT_NAME)
    _replace(lock)


def _replace(lock: JournalLock) -> None:
    # May be interrupted, and done again by the next start. The WAL goes first: SQLite
    # would put what is in it into the new file.
    lock.remove(WAL_NAME)
    lock.sync()
    lock.rename(_NEXT_NAME, NAME)
