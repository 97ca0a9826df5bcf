"""A journal that writes when it is told to, and reads back as naively as possible."""

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Generic, TypeVar

from pymule.sansio.delivery import DeadLetter
from pymule.sansio.record import (
    Buried,
    Changed,
    DeadGone,
    Fact,
    Gone,
    Paused,
    Recovered,
    RowGone,
    SeenId,
    Share,
    Stored,
    StoredRow,
)

__all__ = ("JournalModel", "recovered_from")

SnapshotT = TypeVar("SnapshotT")


@dataclass
class JournalModel(Generic[SnapshotT]):
    """Facts come in calls; each call is written as a whole, and in order.

    But for new rows: those may be written later than facts that came after them, or be
    refused.
    """

    # What was true when the last call that is written was made.
    snapshot: SnapshotT
    log: list[Fact] = field(default_factory=list)
    # Not yet written; each with what was true when it was made.
    calls: list[tuple[list[Fact], SnapshotT]] = field(default_factory=list)
    # New rows whose call is written, and they are not yet.
    new: list[Stored] = field(default_factory=list)
    stored: set[int] = field(default_factory=set)
    mark: int = 0
    written: int = 0

    def write(self, facts: list[Fact], snapshot: SnapshotT) -> int:
        self.calls.append((facts, snapshot))
        self.mark += 1
        return self.mark

    def commit(self, count: int) -> None:
        for facts, snapshot in self.calls[:count]:
            for fact in facts:
                may_lag = isinstance(fact, Stored) and not fact.is_kept
                (self.new if may_lag else self.log).append(fact)  # type: ignore[arg-type]
            self.snapshot = snapshot
            self.written += 1
        del self.calls[:count]

    def store(self, count: int) -> list[int]:
        """Write the next new rows; return which."""
        rows = self._take(count)
        self.log += rows
        self.stored |= {fact.row for fact in rows}
        return [fact.row for fact in rows]

    def refuse(self, count: int) -> list[int]:
        return [fact.row for fact in self._take(count)]

    def _take(self, count: int) -> list[Stored]:
        taken, self.new = self.new[:count], self.new[count:]
        return taken

    def die(self) -> None:
        """What is not written is lost."""
        self.calls, self.new, self.written = [], [], self.mark


@dataclass
class _Message:
    """What the facts say of one message of a row."""

    attempts: int = 0
    crashes: int = 0
    due_at: float | None = None
    errors: tuple[dict[str, object], ...] = ()

    @property
    def history(self) -> Hashable:
        return self.attempts, self.crashes, self.due_at, repr(self.errors)


@dataclass
class _Replay:
    """All that the facts say, one message at a time."""

    stored: dict[int, Stored] = field(default_factory=dict)
    left: dict[int, dict[int, _Message]] = field(default_factory=dict)
    dead: dict[int, DeadLetter] = field(default_factory=dict)
    seen: list[SeenId] = field(default_factory=list)
    paused: set[str] = field(default_factory=set)
    next_id: int = 1
    next_row: int = 1

    def add(self, fact: Fact) -> None:
        match fact:
            case Stored():
                self._stored(fact)
            case Changed():
                for number in range(fact.first_id, fact.first_id + fact.count):
                    assert number in self.left[fact.row]
                    self.left[fact.row][number] = _Message(
                        fact.attempts, fact.crashes, fact.due_at, fact.errors
                    )
            case Gone():
                for number in range(fact.first_id, fact.first_id + fact.count):
                    del self.left[fact.row][number]
                assert self.left[fact.row], "the last of a row is a RowGone"
            case RowGone():
                del self.left[fact.row], self.stored[fact.row]
            case Buried():
                self.dead.pop(fact.letter.id, None)
                self.dead[fact.letter.id] = fact.letter
            case DeadGone():
                self.dead = {n: o for n, o in self.dead.items() if n not in fact.ids}
            case Paused():
                others = self.paused - {fact.queue}
                self.paused = others | set([fact.queue] * fact.is_paused)

    def _stored(self, fact: Stored) -> None:
        ids = range(fact.first_id, fact.first_id + fact.count)
        # One that is taken out of its row has no history of its own yet.
        self.stored[fact.row] = fact
        self.left[fact.row] = {
            n: _Message(fact.is_begun, due_at=fact.due_at) for n in ids
        }
        self.next_id = max(self.next_id, ids.stop)
        self.next_row = max(self.next_row, fact.row + 1)
        if fact.message_id is not None:
            self.seen.append(
                SeenId(fact.queue, fact.message_id, fact.first_id, fact.accepted_at)
            )


def recovered_from(log: Iterable[Fact], now: float, window_s: float) -> Recovered:
    """Return what a new master is given."""
    replay = _Replay()
    for fact in log:
        replay.add(fact)
    return Recovered(
        next_id=replay.next_id,
        next_row=replay.next_row,
        rows=[
            StoredRow(replay.stored[row], list(_shares(replay.left[row])))
            for row in sorted(replay.stored)
        ],
        dead=list(replay.dead.values()),
        seen=[one for one in replay.seen if one.at + window_s > now],
        paused=frozenset(replay.paused),
    )


def _shares(messages: dict[int, _Message]) -> Iterator[Share]:
    """Put neighbours with the same history together."""
    numbers = sorted(messages)
    for _, group in groupby(
        enumerate(numbers),
        key=lambda item: (item[1] - item[0], messages[item[1]].history),
    ):
        ids = [number for _, number in group]
        one = messages[ids[0]]
        yield Share(ids[0], len(ids), one.attempts, one.crashes, one.due_at, one.errors)
