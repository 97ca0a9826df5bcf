"""Whose turn it is: many that want to do the same begin a few at a time.

Theory of operation. Whoever wants to begin asks, and begins at once or waits in line. A
turn is *fresh* from its begin until it is over, but for a while at most, and only
*limit* turns are fresh at a time. So a thousand processes that are to start, or to end,
together do not share the processors a thousand ways, to be done all at the end and
later than each of them may; the first are done while the last still wait. One that
waits for something else than the processor, a database or a sleep, holds nobody up for
longer than that while.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ("TurnLine",)

K = TypeVar("K", bound=Hashable)


class TurnLine(Generic[K]):
    """Who has a turn, and who waits for it; ``now`` is monotonic seconds.

    Args:
        limit: Fresh turns at a time, from 1.
        fresh_s: How long a turn may hold up others, in seconds.
    """

    def __init__(self, limit: int, fresh_s: float) -> None:
        self._limit = limit
        self._fresh_s = fresh_s
        # When each began, the first before the others.
        self._fresh: OrderedDict[K, float] = OrderedDict()
        self._waiting: OrderedDict[K, None] = OrderedDict()

    def __contains__(self, key: K) -> bool:
        """Whether *key* waits for its turn."""
        return key in self._waiting

    def __len__(self) -> int:
        return len(self._waiting)

    def ask(self, key: K) -> None:
        """*key* wants a turn: :meth:`take` tells when it has it."""
        self._fresh.pop(key, None)
        self._waiting[key] = None

    def leave(self, key: K) -> None:
        """The turn of *key* is over, or is not wanted any more."""
        self._fresh.pop(key, None)
        self._waiting.pop(key, None)

    def take(self, now: float) -> list[K]:
        """Return those whose turn begins now, in the order in which they asked."""
        fresh = self._fresh
        while fresh and next(iter(fresh.values())) + self._fresh_s <= now:
            fresh.popitem(last=False)
        begun = []
        while self._waiting and len(fresh) < self._limit:
            key, _ = self._waiting.popitem(last=False)
            fresh[key] = now
            begun.append(key)
        return begun

    def next_due(self) -> float | None:
        """Return when to call :meth:`take` if nobody leaves; ``None``: no need to."""
        if not self._waiting:
            return None
        return next(iter(self._fresh.values())) + self._fresh_s
