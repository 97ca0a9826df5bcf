"""How long somebody is held back who makes much work for the master.

Some work serves the one who asks and nobody else: to say how things are, to refuse what
finds no room, to read thousands of tiny frames, to greet a process again and again. It
is *dear*. Whoever causes dear work while others have work too is held back after it, so
that all dear work together takes a twentieth of the master's time. Messages
that come faster than they are taken are *much* work: whoever sends them has as much of
the time as all others. Alone, somebody may do as much as they like, but for dear work:
half of the time stays free for who comes next. The first question of anybody is never
held back, so a command is always answered at once.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

__all__ = ("DEAR", "MUCH", "Pace")

DEAR: Final = 19.0
"""Seconds of rest for each second of work that serves nobody else."""
MUCH: Final = 1.0
"""The same for messages that come faster than they are taken."""

_MAX_REST_S: Final = 60.0
# So long after somebody else had work, there may be more of it: a process with many
# connections gives others a turn only when all of these had theirs.
_COMPANY_S: Final = 10.0
# Of the others nothing is known, and their next question is a first one.
_REMEMBERED: Final = 1024

K = TypeVar("K", bound=Hashable)


@dataclass(slots=True)
class _Record:
    """What is known of one of them."""

    # The turn in which it had its last work.
    turn: int
    # Until when it is not alone.
    company_until: float = 0.0
    # When it may do more.
    free_at: float = 0.0


class Pace(Generic[K]):
    """Who did dear work lately, and when more of it may be done."""

    def __init__(self) -> None:
        self._records: OrderedDict[K, _Record] = OrderedDict()

    def worked(
        self, key: K, turn: int, seconds: float, now: float, rest: float = 0.0
    ) -> float:
        """Note work; return for how many seconds *key* is to be held back.

        Args:
            key: For whom.
            turn: Number of this turn of work; those of others are counted in between.
            seconds: What it took.
            now: Monotonic seconds.
            rest: :data:`DEAR`, :data:`MUCH`, or nothing for ordinary work.
        """
        record = self._records.get(key)
        if record is None:
            if rest:
                self._remember(key, turn)
            return 0.0
        if turn - record.turn > 1:
            record.company_until = now + _COMPANY_S
        record.turn = turn
        self._records.move_to_end(key)
        if now >= record.company_until:
            rest = MUCH if rest == DEAR else 0.0
        if not rest:
            return 0.0
        # They share what all of them may have: one that does little waits little.
        others = sum(r.free_at > now for r in self._records.values() if r is not record)
        # What it did while more was due already lies between that and the next.
        begun = max(record.free_at + seconds, now)
        free_at = begun + seconds * rest * (1 + others)
        record.free_at = min(free_at, now + _MAX_REST_S)
        return record.free_at - now

    def rest_of(self, key: K, now: float) -> float:
        """Return for how many seconds more *key* is held back."""
        record = self._records.get(key)
        return 0.0 if record is None else max(record.free_at - now, 0.0)

    def _remember(self, key: K, turn: int) -> None:
        self._records[key] = _Record(turn)
        if len(self._records) > _REMEMBERED:
            self._records.popitem(last=False)
