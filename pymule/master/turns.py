"""Lets mules start, or end, a few at a time."""

import os
import time
from collections.abc import Callable
from typing import Final

from pymule.master.generation import Generation
from pymule.master.ticker import Deadline, Ticker
from pymule.sansio.turns import TurnLine

__all__ = ("Turns",)

# For each processor that the master may use, and at least.
_PER_CPU: Final = 2
_AT_LEAST: Final = 4


class Turns:
    """The line of those that want to begin something.

    Args:
        kind: Of the deadline at which :meth:`look` is to be called.
        fresh_s: How long one may hold up others, in seconds.
        ticker: Has that deadline, while some wait.
        begin: Called with each whose turn has come.
    """

    def __init__(
        self,
        kind: str,
        fresh_s: float,
        ticker: Ticker[Deadline],
        begin: Callable[[Generation], None],
    ) -> None:
        # So many at a time.
        self.limit = max(_AT_LEAST, _PER_CPU * len(os.sched_getaffinity(0)))
        self._line: TurnLine[Generation] = TurnLine(self.limit, fresh_s)
        self._deadline: Deadline = (kind, 0)
        self._ticker = ticker
        self._begin = begin

    def __contains__(self, generation: Generation) -> bool:
        """Whether *generation* waits for its turn."""
        return generation in self._line

    def __len__(self) -> int:
        return len(self._line)

    def ask(self, generation: Generation) -> None:
        """Let *generation* begin, now or later."""
        self._line.ask(generation)
        self.look()

    def leave(self, generation: Generation) -> None:
        """Its turn is over, or not wanted any more: others may have theirs."""
        self._line.leave(generation)
        if self._line:
            self.look()

    def look(self) -> None:
        """Begin what may begin."""
        for generation in self._line.take(time.monotonic()):
            self._begin(generation)
        at = self._line.next_due()
        if at is not None:
            self._ticker.arm(self._deadline, at)
        elif self._deadline in self._ticker:
            self._ticker.disarm(self._deadline)
