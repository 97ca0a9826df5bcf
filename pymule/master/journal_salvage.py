"""What can be read of a damaged journal, saved into a new one.

The damaged files are kept under another name; a copy of them is read, record by
record, each of which proves itself by its CRC-32. A page that cannot be read costs the
records on it: those before it are read from the front, those behind it from the back,
and what may be in between is asked for one by one. Of the history of a row only that
row's is lost, with which its messages begin anew: they may be delivered again.
"""

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from pymule.master.journal_file import (
    NAME,
    WAL_NAME,
    JournalFile,
)
from pymule.master.journal_lock import JournalLock
from pymule.master.journal_records import (
    CHANGE_COLUMNS,
    DEAD_COLUMNS,
    ROW_COLUMNS,
    SEEN_COLUMNS,
    Clock,
    Record,
    change_of,
    letter_of,
    seen_of,
    stored_of,
)
from pymule.master.journal_start import NEW_NAME, finish_new, remove_new
from pymule.master.journal_turn import highest_id_of, inserts
from pymule.sansio.record import Changed, Gone
from pymule.sansio.shares import shares_of

__all__ = ("Salvage", "salvage")

_T = TypeVar("_T")

_COPY_NAME: Final = "journal.salvage"
_PAGE: Final = 4096
# Of a gap whose other end is known, so many numbers are asked for at most; of one with
# no other end, so many.
_GAP: Final = 5_000_000
_OPEN_GAP: Final = 100_000
# No id or row of the lost part can be as high.
_FAR: Final = 1 << 32


@dataclass(slots=True)
class Salvage:
    """What was saved, and what was not.

    Attributes:
        kept_as: The damaged file.
        damage: What was wrong with it at first sight.
        messages: How many were saved, by queue.
        dead: How many dead letters were saved.
        lost: What could not be read, in words.
    """

    kept_as: str
    damage: str
    messages: dict[str, int] = field(default_factory=dict)
    dead: int = 0
    lost: list[str] = field(default_factory=list)


def salvage(lock: JournalLock, damage: str) -> Salvage:
    """Put a new journal in the place of a damaged one.

    Raises:
        OSError: Files cannot be copied or moved.
        sqlite3.Error: The new one cannot be written.
    """
    kept_as = lock.free_name("journal.damaged")
    report = Salvage(str(lock.path / kept_as), damage)
    lock.copy(NAME, kept_as)
    lock.copy(WAL_NAME, f"{kept_as}-wal")
    lock.sync()
    remove_new(lock)
    os.close(lock.create(NEW_NAME))
    with closing(JournalFile(lock.path / NEW_NAME)) as new:
        try:
            _save(lock, new, report)
        finally:
            for suffix in ("", "-wal"):
                lock.remove(f"{_COPY_NAME}{suffix}")
    finish_new(lock)
    return report


def _save(lock: JournalLock, new: JournalFile, report: Salvage) -> None:
    lost = ["everything: no table can be found"]
    for mend in (_mend_nothing, _mend_header, _mend_schema):
        for suffix in ("", "-wal"):
            lock.remove(f"{_COPY_NAME}{suffix}")
        lock.copy(NAME, _COPY_NAME)
        lock.copy(WAL_NAME, f"{_COPY_NAME}-wal")
        mend(lock.path / _COPY_NAME, new.path)
        connection = sqlite3.connect(lock.path / _COPY_NAME, isolation_level=None)
        with closing(connection):
            if not _has_tables(connection):
                continue
            saver = _Saver(connection, new)
            if saver.save():
                report.messages, report.dead = saver.messages, saver.dead
                report.lost = saver.lost
                return
            lost = saver.lost
    report.lost = lost
    # Higher than any, whatever they were.
    numbers = (int(time.time()), _FAR, _FAR)
    sql = "UPDATE meta SET epoch = ?, next_id = ?, next_row = ?"
    new.run([(sql, numbers)], is_synced=True)


def _has_tables(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall()
        found = connection.execute("SELECT name FROM sqlite_master").fetchall()
    except sqlite3.DatabaseError:
        return False
    return {("rows",), ("changes",), ("dead",), ("seen",), ("meta",)} <= set(found)


def _mend_nothing(path: Path, new: Path) -> None:
    """Take it as it is: most damage is elsewhere."""
    del path, new


def _mend_header(path: Path, new: Path) -> None:
    """Write what every journal has in the first 100 bytes."""
    if not path.exists():
        path.touch(0o600)
    header = new.read_bytes()[:100]
    pages = path.stat().st_size // _PAGE
    with path.open("r+b") as target:
        # All but the counter of changes, the free pages and the number of the schema.
        for start, end in ((0, 24), (44, 48), (52, 92)):
            target.seek(start)
            target.write(header[start:end])
        target.seek(28)
        target.write(pages.to_bytes(4))


def _mend_schema(path: Path, new: Path) -> None:
    """Write the first page of a new journal, which has its tables in the same order."""
    _mend_header(path, new)
    page = new.read_bytes()[100:_PAGE]
    with path.open("r+b") as target:
        target.seek(100)
        target.write(page)


class _Saver:
    """Reads a damaged database and writes a new one, in one transaction."""

    def __init__(self, old: sqlite3.Connection, new: JournalFile) -> None:
        self.messages: dict[str, int] = {}
        self.dead = 0
        self.lost: list[str] = []
        self._old = old
        self._new = new.connection
        self._clock = Clock.now()
        self._highest_row = 0
        self._highest_id = 0

    def save(self) -> bool:
        """Save what there is; if that is nothing of something, undo it and say so."""
        self._new.execute("BEGIN IMMEDIATE")
        self._save_rows()
        self._save_dead()
        self._save_seen()
        self._save_paused()
        self._save_meta()
        is_some = bool(self.messages or self.dead or not self.lost)
        self._new.execute("COMMIT" if is_some else "ROLLBACK")
        return is_some

    def _save_rows(self) -> None:
        for record in self._by_number("rows", "row", ROW_COLUMNS):
            stored = self._proven("row", stored_of, record)
            if stored is None:
                continue
            changes = list(self._save_changes(stored.row))
            left = shares_of(stored, changes)
            self._put("rows", ROW_COLUMNS, record)
            count = self.messages.get(stored.queue, 0)
            count += sum(share.count for share in left)
            self.messages[stored.queue] = count
            self._highest_row = max(self._highest_row, stored.row)
            self._highest_id = max(self._highest_id, highest_id_of(stored))

    def _save_changes(self, row: int) -> Iterator[Changed | Gone]:
        sql = f"SELECT {CHANGE_COLUMNS} FROM changes WHERE row = ? ORDER BY seq"  # noqa: S608  (names are ours)
        try:
            for record in self._old.execute(sql, (row,)):
                what = "change of row"
                if (change := self._proven(what, change_of, record)) is not None:
                    self._put("changes", CHANGE_COLUMNS, record)
                    yield change
        except sqlite3.Error as exc:
            self.lost.append(f"changes of row {row}: {exc}")

    def _save_dead(self) -> None:
        for record in self._by_number("dead", "number", DEAD_COLUMNS):
            letter = self._proven("dead letter", letter_of, record)
            if letter is not None:
                self._put("dead", DEAD_COLUMNS, record)
                self.dead += 1
                self._highest_id = max(self._highest_id, letter.id)

    def _save_seen(self) -> None:
        for record in self._until_damage("seen", SEEN_COLUMNS):
            if self._proven("message id", seen_of, record) is not None:
                self._put("seen", SEEN_COLUMNS, record)

    def _save_paused(self) -> None:
        for record in self._until_damage("paused", "queue"):
            self._put("paused", "queue", record)

    def _save_meta(self) -> None:
        try:
            sql = "SELECT epoch, next_id, next_row FROM meta"
            epoch, next_id, next_row = map(int, self._old.execute(sql).fetchone())
        except (sqlite3.Error, TypeError, ValueError) as exc:
            self.lost.append(f"the count of starts: {exc}")
            epoch, next_id, next_row = int(time.time()), 0, 0
            self._highest_id += _FAR
            self._highest_row += _FAR
        self._new.execute(
            "UPDATE meta SET epoch = ?, next_id = ?, next_row = ?, clean = 1",
            (
                epoch,
                max(next_id, self._highest_id + 1),
                max(next_row, self._highest_row + 1),
            ),
        )

    def _put(self, table: str, columns: str, record: Record) -> None:
        ((sql, parameters),) = inserts(table, columns, [record])
        self._new.execute(sql, parameters)

    def _proven(
        self, kind: str, read: Callable[[Record, Clock], _T], record: Record
    ) -> _T | None:
        try:
            return read(record, self._clock)
        except (ValueError, TypeError, LookupError) as exc:
            self.lost.append(f"{kind} {record[0]!r}: {exc}")
            return None

    # Around pages that cannot be read

    def _until_damage(self, table: str, columns: str) -> Iterator[Record]:
        try:
            yield from self._old.execute(f"SELECT {columns} FROM {table}")  # noqa: S608  (names are ours)
        except sqlite3.Error as exc:
            self.lost.append(f"the rest of table {table}: {exc}")

    def _by_number(self, table: str, key: str, columns: str) -> Iterator[Record]:
        """Yield the records of a table whose key is a number, in its order."""
        select = f"SELECT {key}, {columns} FROM {table}"  # noqa: S608  (names are ours)
        low = 0
        try:
            for number, *record in self._old.execute(f"{select} ORDER BY {key}"):
                low = number
                yield tuple(record)
        except sqlite3.Error:
            behind = list(self._from_behind(f"{select} WHERE {key} > ?", key, low))
            high = behind[-1][0] if behind else low + _OPEN_GAP
            yield from self._between(table, f"{select} WHERE {key} = ?", low, high)
            yield from (tuple(record) for _, *record in reversed(behind))

    def _from_behind(self, sql: str, key: str, low: int) -> Iterator[tuple[int, ...]]:
        with contextlib.suppress(sqlite3.Error):
            yield from self._old.execute(f"{sql} ORDER BY {key} DESC", (low,))

    def _between(self, table: str, sql: str, low: int, high: int) -> Iterator[Record]:
        """Ask for each number between *low* and *high*, as far as that makes sense."""
        first_bad = 0
        for number in range(low + 1, min(high, low + _GAP)):
            try:
                found = self._old.execute(sql, (number,)).fetchone()
            except sqlite3.Error:
                first_bad = first_bad or number
                continue
            if first_bad:
                self._lose(table, first_bad, number - 1)
                first_bad = 0
            if found is not None:
                yield tuple(found[1:])
        if first_bad:
            self._lose(table, first_bad, high - 1)

    def _lose(self, table: str, first: int, last: int) -> None:
        self.lost.append(f"{table} {first} to {last}: those of them that were there")
