"""The database of a journal: its tables, its settings, and what errors of it mean.

One connection, used by one thread at a time. Exclusive locking is set before WAL, so
that no shared memory file exists and no other process can open the database; that
also keeps out the bug by which SQLite before 3.51.3 could corrupt a WAL, which needs
two connections. Checkpoints are ours, because each costs two fsyncs: see
:mod:`pymule.master.journal_writer`.

In ``rows`` is what was accepted and is not done. ``changes`` has what happened since to
some messages of a row, in the order of ``seq``; ``attempts`` is NULL for those that are
gone. Every record has a CRC-32 of what it says, see
:mod:`pymule.master.journal_records`. Times are nanoseconds of the Unix epoch.
"""

import contextlib
import ctypes
import errno
import os
import sqlite3
from pathlib import Path
from typing import Final

from pymule.errors import (
    JournalDamagedError,
    JournalError,
    JournalFailedError,
    JournalInUseError,
    JournalSetupError,
    StorageFullError,
)

__all__ = (
    "APPLICATION_ID",
    "FORMAT",
    "NAME",
    "TABLES",
    "WAL_NAME",
    "JournalFile",
    "is_full",
    "journal_error",
)

NAME: Final = "journal.db"
WAL_NAME: Final = "journal.db-wal"
FORMAT: Final = 2
"""Kept as ``user_version``. Format 1 had no CRCs and no message ids."""
APPLICATION_ID: Final = 0x70796D6C
"""``pyml``"""

_META: Final = """
CREATE TABLE meta (
    id INTEGER PRIMARY KEY, epoch INTEGER, next_id INTEGER, next_row INTEGER,
    clean INTEGER
);
INSERT INTO meta VALUES (1, 0, 1, 1, 1);
CREATE TABLE paused (queue TEXT PRIMARY KEY) WITHOUT ROWID;
"""

TABLES: Final = """
CREATE TABLE rows (
    row INTEGER PRIMARY KEY, queue TEXT, first_id INTEGER, count INTEGER,
    accepted_at INTEGER, due_at INTEGER, message_id BLOB, crc INTEGER, options BLOB,
    payload BLOB
);
CREATE TABLE changes (
    row INTEGER, seq INTEGER, first_id INTEGER, count INTEGER, attempts INTEGER,
    crashes INTEGER, due_at INTEGER, errors TEXT, crc INTEGER, PRIMARY KEY (row, seq)
) WITHOUT ROWID;
CREATE TABLE dead (
    number INTEGER PRIMARY KEY, id INTEGER UNIQUE, queue TEXT, attempts INTEGER,
    crashes INTEGER, reason TEXT, errors TEXT, accepted_at INTEGER, died_at INTEGER,
    crc INTEGER, options BLOB, body BLOB
);
CREATE TABLE seen (
    queue TEXT, message_id BLOB, id INTEGER, at INTEGER, crc INTEGER,
    PRIMARY KEY (queue, message_id)
) WITHOUT ROWID;
CREATE INDEX seen_at ON seen (at);
"""
"""What format 2 changed; the other tables are those of format 1."""

# What is asked for, and what must be answered when it is read back. A deleted body is
# not overwritten with zeros, which Debian's SQLite does by default: it halves the
# rate, and the file is for its user only.
_PRAGMAS: Final = (
    # Before anything is read: else the WAL that a crash has left is opened with memory
    # that is shared with other processes, and stays so.
    ("locking_mode", "EXCLUSIVE", "exclusive"),
    ("auto_vacuum", "INCREMENTAL", 2),
    ("journal_mode", "WAL", "wal"),
    ("synchronous", "FULL", 2),
    ("wal_autocheckpoint", "0", 0),
    ("secure_delete", "OFF", 0),
    ("temp_store", "MEMORY", 2),
    ("foreign_keys", "OFF", 0),
    ("trusted_schema", "OFF", 0),
    ("cell_size_check", "ON", 1),
    ("mmap_size", "0", 0),
    ("cache_size", "-8192", -8192),
)


class JournalFile:
    """An open database of the current format.

    Args:
        path: A file that exists; an empty one gets the tables.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # A statement for each number of rows up to 64, for two tables.
        self.connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        self._is_synced = True
        # Transactions that were in the WAL and could not be read.
        self.lost_commits = 0
        try:
            self._set_pragmas()
            if self.one("SELECT count(*) FROM sqlite_master") == 0:
                self._make_tables()
        except BaseException:
            self.connection.close()
            raise

    def _set_pragmas(self) -> None:
        self.connection.execute("PRAGMA busy_timeout = 0")
        for name, value, answer in _PRAGMAS:
            # Some write to the file, even if it is so already.
            if self.one(f"PRAGMA {name}") != answer:
                self.connection.execute(f"PRAGMA {name} = {value}").fetchall()
            found = self.one(f"PRAGMA {name}")
            if found != answer:
                raise JournalSetupError(
                    str(self.path),
                    f"this SQLite {sqlite3.sqlite_version} answers {found!r} to"
                    f" PRAGMA {name} = {value}",
                )

    def _make_tables(self) -> None:
        self.connection.executescript(
            f"BEGIN IMMEDIATE; {_META} {TABLES}"
            f" PRAGMA application_id = {APPLICATION_ID};"
            f" PRAGMA user_version = {FORMAT}; COMMIT;"
        )
        # Who asks for the format reads the first bytes of the file, not the WAL.
        self.checkpoint("TRUNCATE")

    def one(self, sql: str) -> object:
        """Return the first column of the first record."""
        record = self.connection.execute(sql).fetchone()
        return None if record is None else record[0]

    def run(
        self, statements: list[tuple[str, tuple[object, ...]]], *, is_synced: bool
    ) -> None:
        """Do *statements* in one transaction; what fails leaves nothing of it.

        Args:
            statements: Each with its parameters.
            is_synced: Return when the disk has it, not only the kernel.
        """
        if is_synced is not self._is_synced:
            mode = "FULL" if is_synced else "NORMAL"
            self.connection.execute(f"PRAGMA synchronous = {mode}")
            self._is_synced = is_synced
        if len(statements) == 1:
            # A transaction of its own: two calls less that wait for the GIL.
            self.connection.execute(*statements[0])
            return
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            for sql, parameters in statements:
                self.connection.execute(sql, parameters)
            self.connection.execute("COMMIT")
        except BaseException:
            # SQLite has done it already after most errors.
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise

    def checkpoint(self, mode: str = "PASSIVE") -> int:
        """Bring what is in the WAL into the database, both with an fsync.

        Returns:
            How many frames the WAL has, or had.
        """
        sql = f"PRAGMA wal_checkpoint({mode})"
        _, frames, _ = self.connection.execute(sql).fetchone()
        return int(frames)

    def vacuum(self, pages: int) -> None:
        """Give up to *pages* free pages back."""
        # It gives a row without columns for each page; execute() stops at the first.
        self.connection.executescript(f"PRAGMA incremental_vacuum({pages})")

    def free_pages(self) -> int:
        """Return how many pages of the file are not used."""
        return int(str(self.one("PRAGMA freelist_count")))

    def check(self, *, is_thorough: bool = False) -> None:
        """Look for damage in the structure of the file.

        Raises:
            JournalDamagedError: There is some.
        """
        pragma = "integrity_check" if is_thorough else "quick_check"
        found = self.one(f"PRAGMA {pragma}(1)")
        if found != "ok":
            raise JournalDamagedError(str(self.path), str(found).replace("\n", " "))

    def close(self) -> None:
        """Bring everything into the database, and close it."""
        self.connection.close()

    def abandon(self) -> None:
        """Never touch the files again, not even to close them.

        SQLite closes with a checkpoint. After a failed fsync the kernel takes what it
        could not write for written, so the next fsync would report success.
        """
        with contextlib.suppress(sqlite3.Error):
            self.connection.interrupt()
        # Python 3.11 cannot switch off that checkpoint; a connection that is never
        # collected is never closed. Remove when 3.12 is the floor: it has setconfig.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.connection))


def is_full(error: sqlite3.Error, directory: Path) -> bool:
    """Tell whether the disk, or this user's share of it, is full."""
    code = getattr(error, "sqlite_errorcode", 0)
    if code == sqlite3.SQLITE_IOERR_WRITE:
        return _is_quota_spent(directory)
    return bool(code & 0xFF == sqlite3.SQLITE_FULL)


def _is_quota_spent(directory: Path) -> bool:
    # SQLite tells ENOSPC apart, and takes EDQUOT for a broken disk.
    try:
        fd = os.open(directory, os.O_TMPFILE | os.O_RDWR, 0o600)
    except OSError as exc:
        return exc.errno == errno.EDQUOT
    try:
        os.posix_fallocate(fd, 0, 65_536)
    except OSError as exc:
        return exc.errno == errno.EDQUOT
    finally:
        os.close(fd)
    return False


_KINDS: Final[dict[int, type[JournalSetupError | JournalFailedError]]] = {
    sqlite3.SQLITE_CANTOPEN: JournalSetupError,
    sqlite3.SQLITE_PERM: JournalSetupError,
    sqlite3.SQLITE_READONLY: JournalSetupError,
    sqlite3.SQLITE_IOERR: JournalFailedError,
    sqlite3.SQLITE_NOMEM: JournalFailedError,
}


def journal_error(error: sqlite3.Error, path: Path) -> JournalError | StorageFullError:
    """Return what *error* means for the journal at *path* while it is opened."""
    # A text that is not UTF-8 has no code.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
    if is_full(error, path.parent):
        return StorageFullError(str(path))
    if code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return JournalInUseError(str(path), None)
    kind = _KINDS.get(code & 0xFF)
    if kind is not None:
        return kind(str(path), str(error))
    return JournalDamagedError(str(path), str(error))
