"""One timer of the loop for all deadlines of the wheel."""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from pymule.sansio.wheel import TimerWheel

__all__ = ("Deadline", "Ticker")

Deadline = tuple[str, int]
"""What is due: a kind, and the number of what it is about."""

K = TypeVar("K")

# A million messages may be due at the same time; others have their turn in between.
_TURN_CALLS: Final = 500


class Ticker(Generic[K]):
    """Call *on_due* with each key when it is due; sleep as long as none is.

    Args:
        loop: asyncio's or uvloop's.
        on_due: May arm and disarm.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, on_due: Callable[[K], None]
    ) -> None:
        self._loop = loop
        self._on_due = on_due
        self._wheel: TimerWheel[K] = TimerWheel()
        # Due, and not yet called: more than one may come at a time. An OrderedDict: the
        # front of a dict costs a walk over all that left it.
        self._due: OrderedDict[K, None] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def __contains__(self, key: K) -> bool:
        return key in self._wheel or key in self._due

    def __len__(self) -> int:
        return len(self._wheel) + len(self._due)

    def arm(self, key: K, at: float) -> None:
        """Let *key* be due at *at*, monotonic seconds; at no other time."""
        if self._due:
            self._due.pop(key, None)
        self._wheel.arm(key, at)
        if self._timer is None or at < self._timer_at:
            self._set_timer()

    def disarm(self, key: K) -> None:
        """Let *key* not be due."""
        if self._due:
            self._due.pop(key, None)
        at = self._wheel.disarm(key)
        # The timer is for the first deadline, so the others leave it alone.
        if at is None or self._timer is None or at > self._timer_at:
            return
        # Else the loop would wake up for nothing.
        due = self._wheel.next_due()
        if due is None or due > self._timer_at:
            self._set_timer()

    def close(self) -> None:
        """Forget all deadlines."""
        self._wheel = TimerWheel()
        self._due.clear()
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self._timer_at if self._due else self._wheel.next_due()
        if due is not None:
            self._timer_at = due
            # A loop's clock may be coarser than ours, so the delay is measured here. Up
            # to the next millisecond, because uvloop rounds to the nearest: below half
            # of one it would turn without a sleep until then.
            delay = max(math.ceil((due - time.monotonic()) * 1000) / 1000, 0)
            self._timer = self._loop.call_later(delay, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._due.update(dict.fromkeys(self._wheel.pop_due(time.monotonic())))
        try:
            for _ in range(_TURN_CALLS):
                if not self._due:
                    break
                key, _ = self._due.popitem(last=False)
                self._on_due(key)
        finally:
            # Also after a call that raised, and after many: those behind have theirs.
            self._set_timer()
