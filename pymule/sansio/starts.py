"""Whose turn it is to start: many processes begin one after another, not all at once.

Theory of operation. Whoever wants to start asks, and begins at once or waits in line. A
start is *fresh* from its begin until it is over, but for :data:`FRESH_S` at most, and
only *limit* starts are fresh at a time. So a thousand that want to start together do
not share the processors a thousand ways, to be ready all at the end and later than each
of them may; the first are ready while the last still wait. A start that waits for
something else than the processor, a database or a sleep, holds nobody up for longer
than that.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

__all__ = ("FRESH_S", "StartLine")

FRESH_S: Final = 2.0
"""So long, in seconds, a start may hold up others."""

K = TypeVar("K", bound=Hashable)


class StartLine(Generic[K]):
    """Who starts, and who waits until it may; ``now`` is monotonic seconds.

    Args:
        limit: Fresh starts at a time, from 1.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        # When each began, the first before the others.
        self._fresh: OrderedDict[K, float] = OrderedDict()
        self._waiting: OrderedDict[K, None] = OrderedDict()

    def __contains__(self, key: K) -> bool:
        """Whether *key* waits for its turn."""
        return key in self._waiting

    def __len__(self) -> int:
        return len(self._waiting)

    def ask(self, key: K) -> None:
        """*key* wants to start: :meth:`take` tells when it may."""
        self._fresh.pop(key, None)
        self._waiting[key] = None

    def leave(self, key: K) -> None:
        """The start of *key* is over, or is not wanted any more."""
        self._fresh.pop(key, None)
        self._waiting.pop(key, None)

    def take(self, now: float) -> list[K]:
        """Return those that are to start now, in the order in which they asked."""
        fresh = self._fresh
        while fresh and next(iter(fresh.values())) + FRESH_S <= now:
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
        return next(iter(self._fresh.values())) + FRESH_S
