"""What a journal gives a new master."""

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from pymule.errors import JournalDamagedError
from pymule.master.journal_file import JournalFile, journal_error
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
from pymule.sansio.delivery import DeadLetter
from pymule.sansio.record import Changed, Gone, SeenId, StoredRow
from pymule.sansio.shares import shares_of

__all__ = ("Reader",)

_T = TypeVar("_T")

_CHANGES: Final = f"SELECT {CHANGE_COLUMNS} FROM changes ORDER BY row, seq"  # noqa: S608  (names are ours)
_DEAD: Final = f"SELECT {DEAD_COLUMNS} FROM dead ORDER BY number"  # noqa: S608  (names are ours)
_PAUSED: Final = "SELECT queue FROM paused"
_ROWS: Final = f"SELECT {ROW_COLUMNS} FROM rows ORDER BY row"  # noqa: S608  (names are ours)
_SEEN: Final = f"SELECT {SEEN_COLUMNS} FROM seen WHERE at >= ? ORDER BY at"  # noqa: S608  (names are ours)


class Reader:
    """Reads everything once; what is not what was written ends it.

    Each method raises :class:`JournalDamagedError` then.
    """

    def __init__(self, file: JournalFile, clock: Clock) -> None:
        self._file = file
        self._clock = clock
        # Rows that were read and have something left.
        self.rows_count = 0
        # Rows of which nothing is left, though nothing said that they are gone.
        self.empty_rows: list[int] = []

    def rows(self) -> Iterator[StoredRow]:
        """Yield the rows in the order in which they were accepted."""
        changes = self._records(_CHANGES, "change of row", change_of)
        change = next(changes, None)
        for stored in self._records(_ROWS, "row", stored_of):
            if change is not None and change.row < stored.row:
                break
            own: list[Changed | Gone] = []
            while change is not None and change.row == stored.row:
                own.append(change)
                change = next(changes, None)
            if shares := shares_of(stored, own):
                self.rows_count += 1
                yield StoredRow(stored, shares)
            else:
                self.empty_rows.append(stored.row)
        if change is not None:
            raise self._damage(f"row {change.row} has changes, and is missing")

    def dead(self) -> list[DeadLetter]:
        """Return the dead letters, the oldest first."""
        return list(self._records(_DEAD, "dead letter", letter_of))

    def seen(self, window_s: float) -> list[SeenId]:
        """Return the message ids of the last *window_s* seconds, the oldest first."""
        # No further back than 63 bits of nanoseconds go.
        since = time.time_ns() - int(min(window_s, 5e9) * 1e9)
        return list(self._records(_SEEN, "message id", seen_of, since))

    def paused(self) -> frozenset[str]:
        """Return the names of the queues that are paused."""
        return frozenset(self._records(_PAUSED, "pause", lambda one, _: str(one[0])))

    def _records(
        self,
        sql: str,
        kind: str,
        read: Callable[[Record, Clock], _T],
        *parameters: object,
    ) -> Iterator[_T]:
        cursor = self._file.connection.cursor()
        # One call for many records; the default is one.
        cursor.arraysize = 256
        try:
            cursor.execute(sql, parameters)
            clock = self._clock
            while records := cursor.fetchmany():
                for record in records:
                    # No call of ours between: a million rows are read in seconds.
                    try:
                        yield read(record, clock)
                    except ValueError as exc:
                        what = f"{kind} {record[0]!r}: {exc}"
                        raise self._damage(what) from exc
        except sqlite3.Error as exc:
            raise journal_error(exc, self._file.path) from exc
        finally:
            # Whoever stopped reading may have closed the file by now.
            with contextlib.suppress(sqlite3.ProgrammingError):
                cursor.close()

    def _damage(self, what: str) -> JournalDamagedError:
        return JournalDamagedError(str(self._file.path), what)
