"""The facts of one turn of the writer, as few statements.

What a later fact of the same turn makes superfluous is not written: changes of a row
that is gone, a dead letter that left. Neighbouring ranges become one. Each statement
takes many records, because the thread waits for the GIL after each, and an event loop
that is busy lets it wait.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import chain
from typing import Final, assert_never

from pymule.master.journal_file import JournalFile
from pymule.master.journal_records import (
    CHANGE_COLUMNS,
    DEAD_COLUMNS,
    ROW_COLUMNS,
    SEEN_COLUMNS,
    Clock,
    Record,
    record_of_change,
    record_of_letter,
    record_of_seen,
    record_of_stored,
)
from pymule.sansio.delivery import DeadLetter
from pymule.sansio.record import (
    Buried,
    Changed,
    DeadGone,
    Fact,
    Gone,
    Paused,
    RowGone,
    SeenId,
    Stored,
)

__all__ = (
    "Statement",
    "Turn",
    "forget_seen",
    "highest_id_of",
    "inserts",
    "room_for",
    "stores",
)

Statement = tuple[str, tuple[object, ...]]
"""SQL and its parameters."""

# With the 12 columns of the widest table below the 999 parameters that every SQLite
# allows.
_RECORDS: Final = 64

# A long record ends with a page that is half empty, a short one shares its page.
_ROW_BYTES: Final = 512
# Errors with their tracebacks.
_LETTER_BYTES: Final = 4096

_DELETE_OLD: Final = (
    "DELETE FROM changes WHERE row = ? AND attempts IS NOT NULL AND first_id >= ?"
    " AND first_id + count <= ?"
)
_DELETE_SEEN: Final = (
    "DELETE FROM seen WHERE queue = ? AND at < (SELECT at FROM seen WHERE queue = ?"
    " ORDER BY at DESC LIMIT 1 OFFSET ?)"
)


class Turn:
    """All facts of one turn but the rows that may be refused; those are in `rows`.

    Args:
        facts: In the order in which they were said.
    """

    def __init__(self, facts: Iterable[Fact]) -> None:
        # May be refused, in order.
        self.rows: list[Stored] = []
        # Whether nobody waits for all the others to be written.
        self.is_patient = True
        # Of all the other new rows, those included that are gone already.
        self.highest_row = 0
        self.highest_id = 0
        self._kept: dict[int, Stored] = {}
        self._changes: dict[int, list[Changed | Gone]] = {}
        self._replaced: list[Changed] = []
        self._gone: list[int] = []
        self._letters: dict[int, DeadLetter] = {}
        self._letters_gone: list[int] = []
        self._paused: dict[str, bool] = {}
        for fact in facts:
            self._add(fact)

    def _add(self, fact: Fact) -> None:
        match fact:
            case Stored() if not fact.is_kept:
                self.rows.append(fact)
            case RowGone():
                self._changes.pop(fact.row, None)
                if self._kept.pop(fact.row, None) is None:
                    self._gone.append(fact.row)
            case Gone():
                self._change(fact)
            case _:
                self.is_patient = False
                self._add_other(fact)

    def _add_other(self, fact: Stored | Changed | Buried | DeadGone | Paused) -> None:
        match fact:
            case Stored():
                self._kept[fact.row] = fact
                self.highest_row = max(self.highest_row, fact.row)
                self.highest_id = max(self.highest_id, highest_id_of(fact))
            case Changed():
                self._change(fact)
            case Buried():
                # Taken out first, so that it comes after those that died before.
                self._letters.pop(fact.letter.id, None)
                self._letters[fact.letter.id] = fact.letter
            case DeadGone():
                for id_ in fact.ids:
                    self._letters.pop(id_, None)
                self._letters_gone += fact.ids
            case Paused():
                self._paused[fact.queue] = fact.is_paused
            case unreachable:
                assert_never(unreachable)

    def _change(self, fact: Changed | Gone) -> None:
        changes = self._changes.setdefault(fact.row, [])
        last = changes[-1] if changes else None
        if last is not None and _follows(last, fact):
            changes[-1] = replace(last, count=last.count + fact.count)
            return
        if isinstance(fact, Changed) and (fact.attempts != 1 or fact.errors):
            # Else a message that fails for days would keep all it ever was. The first
            # lease, which is nearly all there is, has nothing to replace.
            self._replaced.append(fact)
            if isinstance(last, Changed) and _has_same_ids(last, fact):
                changes.pop()
        changes.append(fact)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do but for `rows`."""
        return not (
            self._kept
            or self._changes
            or self._gone
            or self._letters
            or self._letters_gone
            or self._paused
        )

    @property
    def kept_bytes(self) -> int:
        """Bytes that its rows and letters take, `rows` not counted."""
        letters = sum(len(one.body) + _LETTER_BYTES for one in self._letters.values())
        return letters + room_for(self._kept.values())

    @property
    def growth(self) -> int:
        """How many rows it adds, less those it removes, `rows` not counted."""
        return len(self._kept) - len(self._gone)

    def statements(self, clock: Clock, seq: Iterator[int]) -> list[Statement]:
        """Return what to do for all but `rows`.

        Args:
            clock: Of now.
            seq: Gives numbers that grow.
        """
        kept = [record_of_stored(fact, clock) for fact in self._kept.values()]
        changes = [
            record_of_change(fact, next(seq), clock)
            for facts in self._changes.values()
            for fact in facts
        ]
        letters = [record_of_letter(one, clock) for one in self._letters.values()]
        return [
            *inserts("rows", ROW_COLUMNS, kept),
            *(_delete_old(fact) for fact in self._replaced),
            *inserts("changes", CHANGE_COLUMNS, changes),
            *_deletes("rows", "row", self._gone),
            *_deletes("changes", "row", self._gone),
            *_deletes("dead", "id", self._letters_gone),
            *inserts("dead", DEAD_COLUMNS, letters),
            *map(_pause, self._paused.items()),
        ]


def stores(rows: Sequence[Stored], clock: Clock, seq: Iterator[int]) -> list[Statement]:
    """Return what to do for rows that may be refused, and for their message ids.

    Args:
        rows: What was accepted.
        clock: Of now.
        seq: Gives numbers that grow.
    """
    begun = [
        record_of_change(
            Changed(fact.row, fact.first_id, fact.count, 1, 0), next(seq), clock
        )
        for fact in rows
        if fact.is_begun
    ]
    seen = [
        record_of_seen(
            SeenId(fact.queue, fact.message_id, fact.first_id, fact.accepted_at), clock
        )
        for fact in rows
        if fact.message_id is not None
    ]
    return [
        *inserts("rows", ROW_COLUMNS, [record_of_stored(fact, clock) for fact in rows]),
        *inserts("changes", CHANGE_COLUMNS, begun),
        *inserts("seen", SEEN_COLUMNS, seen),
    ]


def room_for(rows: Iterable[Stored]) -> int:
    """Return how many bytes the records of *rows* take, roughly."""
    return sum(len(fact.payload) + _ROW_BYTES for fact in rows)


def forget_seen(file: JournalFile, until: int, most: int) -> list[Statement]:
    """Return what takes out message ids that no queue remembers any more.

    Args:
        file: Where they are.
        until: Those from before are too old, in nanoseconds of the Unix epoch.
        most: So many of each queue are kept, the newest.
    """
    statements: list[Statement] = [("DELETE FROM seen WHERE at < ?", (until,))]
    crowded = "SELECT queue FROM seen GROUP BY queue HAVING count(*) > ?"
    for (queue,) in file.connection.execute(crowded, (most,)).fetchall():
        statements.append((_DELETE_SEEN, (queue, queue, most - 1)))
    return statements


def inserts(table: str, columns: str, records: Sequence[Record]) -> Iterator[Statement]:
    """Yield statements that put *records* into *table*, many with each."""
    for start in range(0, len(records), _RECORDS):
        some = records[start : start + _RECORDS]
        sql = _insert_sql(table, columns, len(some))
        yield sql, tuple(chain.from_iterable(some))


@cache
def _insert_sql(table: str, columns: str, count: int) -> str:
    marks = f"({', '.join('?' * (columns.count(',') + 1))})"
    values = ", ".join([marks] * count)
    return f"INSERT OR REPLACE INTO {table} ({columns}) VALUES {values}"  # noqa: S608  (names are ours)


def highest_id_of(fact: Stored) -> int:
    """Return the id of the last message of *fact*."""
    return fact.first_id + fact.count - 1


def _deletes(table: str, column: str, numbers: Sequence[int]) -> Iterator[Statement]:
    if len(numbers) == 1:
        # Half the time of the other one.
        yield f"DELETE FROM {table} WHERE {column} = ?", (numbers[0],)  # noqa: S608  (names are ours)
    elif numbers:
        yield (
            f"DELETE FROM {table} WHERE {column} IN (SELECT value FROM json_each(?))",  # noqa: S608  (names are ours)
            (json.dumps(numbers),),
        )


def _pause(item: tuple[str, bool]) -> Statement:
    queue, is_paused = item
    if is_paused:
        return "INSERT OR REPLACE INTO paused VALUES (?)", (queue,)
    return "DELETE FROM paused WHERE queue = ?", (queue,)


def _delete_old(fact: Changed) -> Statement:
    """Return what takes out earlier changes of nothing but the same messages."""
    return _DELETE_OLD, (fact.row, fact.first_id, fact.first_id + fact.count)


def _has_same_ids(last: Changed, fact: Changed) -> bool:
    return (last.first_id, last.count) == (fact.first_id, fact.count)


def _follows(last: Changed | Gone, fact: Changed | Gone) -> bool:
    """Tell whether *fact* says the same about the messages after those of *last*."""
    return replace(last, first_id=fact.first_id, count=fact.count) == fact and (
        last.first_id + last.count == fact.first_id
    )
