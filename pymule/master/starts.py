"""Lets the mules start, a few at a time."""

import os
import time
from collections.abc import Callable
from typing import Final

from pymule.master.generation import Generation
from pymule.master.ticker import Deadline, Ticker
from pymule.sansio.starts import StartLine
from pymule.sansio.supervision import MuleState

__all__ = ("STARTS", "Starts")

STARTS: Final = "starts"
_KEY: Final[Deadline] = (STARTS, 0)
# For each processor that the master may use, and at least.
_PER_CPU: Final = 2
_AT_LEAST: Final = 4


class Starts:
    """The line of those that want to start.

    Args:
        ticker: Wakes it while some wait.
        begin: Called with each whose turn has come.
    """

    def __init__(
        self, ticker: Ticker[Deadline], begin: Callable[[Generation], None]
    ) -> None:
        limit = max(_AT_LEAST, _PER_CPU * len(os.sched_getaffinity(0)))
        self._line: StartLine[Generation] = StartLine(limit)
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

    def follow(self, generation: Generation) -> None:
        """Its state may be another: if it does not start, others have their turn."""
        if generation.state is not MuleState.STARTING:
            self._line.leave(generation)
            if self._line:
                self.look()

    def look(self) -> None:
        """Begin what may begin."""
        for generation in self._line.take(time.monotonic()):
            self._begin(generation)
        at = self._line.next_due()
        if at is not None:
            self._ticker.arm(_KEY, at)
        elif _KEY in self._ticker:
            self._ticker.disarm(_KEY)
