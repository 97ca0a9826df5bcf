"""Messages at planned instants, whatever happened to the one before.

A sender that waits for a slow message before it plans the next one leaves out those
that would have waited, too: coordinated omission. Here the plan is made beforehand. A
sender that is late sends at once until it has caught up, and each message carries the
instant at which it should have left.

Light, as the notes are, and for the same reason.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Final, Self

from benchmarks.notes import (
    SCENARIO,
    latency_of,
    lateness_of,
    nap_before,
    note,
    stamped,
    wait_for,
)

__all__ = (
    "Arrivals",
    "Phase",
    "due",
    "due_blocking",
    "phases",
    "phases_of",
    "scenario_of",
)

# Until it is this one's turn.
_PATIENCE_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class Phase:
    """So many messages at one rate.

    Attributes:
        rate: Messages that are planned each second.
        count: Messages that are planned.
    """

    rate: float
    count: int

    @property
    def seconds(self) -> float:
        """How long it takes, if nobody is late."""
        return self.count / self.rate

    def instants(self, start: float) -> Iterator[float]:
        """Yield when each message is to leave; the first one at *start*."""
        # Not a sum of periods, whose error would grow.
        return (start + at / self.rate for at in range(self.count))

    @classmethod
    def parse(cls, word: str) -> Self:
        """Read ``RATExCOUNT``."""
        rate, _, count = word.partition("x")
        return cls(float(rate), int(count))

    def __str__(self) -> str:
        return f"{self.rate:g}x{self.count}"


def scenario_of(phases: Sequence[Phase]) -> str:
    """Return the scenario that tells these *phases* to the programs of a round."""
    return " ".join(map(str, phases))


def phases_of(scenario: str) -> list[Phase]:
    """Return what :func:`scenario_of` made a text of."""
    return [Phase.parse(word) for word in scenario.split()]


def phases() -> list[Phase]:
    """Return the phases of this process's round."""
    return phases_of(os.environ[SCENARIO])


async def due(at: int, phase: Phase) -> AsyncIterator[bytes]:
    """Yield each message of phase number *at* when it is time to send it.

    It begins when the benchmark says so, and turns the loop before each message, so
    that what comes in is read, also by a sender that is late.
    """
    start = await asyncio.to_thread(_go, at)
    for planned in phase.instants(start):
        await asyncio.sleep(nap_before(planned))
        while (now := monotonic()) < planned:  # noqa: ASYNC110  (only time passes)
            await asyncio.sleep(0)
        yield stamped(planned, now)


def due_blocking(at: int, phase: Phase) -> Iterator[bytes]:
    """Yield the same messages to a sender without an event loop."""
    start = _go(at)
    for planned in phase.instants(start):
        sleep(nap_before(planned))
        while (now := monotonic()) < planned:
            pass
        yield stamped(planned, now)


class Arrivals:
    """Notes how long each message of a round was under way, phase by phase."""

    def __init__(self) -> None:
        self._phases = iter(enumerate(phases()))
        self._latencies: list[float] = []
        self._lateness: list[float] = []
        self._at, self._missing = 0, 0
        self.is_over = False
        self._begin()

    def add(self, message: bytes, now: float) -> None:
        """Count *message*, which arrived *now*."""
        self._latencies.append(latency_of(message, now))
        self._lateness.append(lateness_of(message))
        self._missing -= 1
        if not self._missing:
            self._end()
            self._begin()

    def _begin(self) -> None:
        self._at, phase = next(self._phases, (-1, None))
        if phase is None:
            self.is_over = True
        else:
            self._missing = phase.count

    def _end(self) -> None:
        latencies, lateness = self._latencies, self._lateness
        note(f"arrived-{self._at}", latencies=latencies, lateness=lateness)
        self._latencies, self._lateness = [], []


def _go(at: int) -> float:
    # Rarely looked at: others may be measured meanwhile.
    start = wait_for(f"go-{at}", within=_PATIENCE_S, step=0.02)["start"]
    assert isinstance(start, float), f"start is {start!r}"
    return start
