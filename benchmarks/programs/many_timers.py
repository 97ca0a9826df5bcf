"""A million timers, on one timer of the loop (pymule's) or each on one of its own.

``python -m benchmarks.programs.many_timers ticker|call_at PERIODS``, on uvloop.
"""

import asyncio
import os
import random
import sys
from collections.abc import Callable, Sequence
from time import monotonic, perf_counter, process_time
from typing import Final, Protocol

import uvloop

from benchmarks.notes import COUNT, note
from pymule.master.ticker import Ticker

__all__ = ("measure",)

PERIOD_S: Final = 1.0
PERIODIC: Final = 10_000
"""As many are due in each period."""
# The first period is not measured: all that is armed for it is armed at once.
_WARM_UP_PERIODS: Final = 1
# Far enough that none is due while others are measured.
_NEAREST_S: Final = 600.0
_FARTHEST_S: Final = 86_400.0


class Timers(Protocol):
    """What is measured: timers by number."""

    def arm(self, key: int, at: float) -> None:
        """Let *key* be due at *at*, monotonic seconds."""

    def disarm(self, key: int) -> None:
        """Let *key* not be due."""


class CallAt:
    """``loop.call_at``, with the same face as a :class:`Ticker`.

    It keeps the handles, because whoever wants to cancel has to.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, on_due: Callable[[int], None]
    ) -> None:
        self._loop = loop
        self._on_due = on_due
        self._handles: dict[int, asyncio.TimerHandle] = {}
        # Measured once: uvloop's clock counts in milliseconds.
        self._ahead = loop.time() - monotonic()

    def arm(self, key: int, at: float) -> None:
        self._handles[key] = self._loop.call_at(at + self._ahead, self._on_due, key)

    def disarm(self, key: int) -> None:
        self._handles.pop(key).cancel()


class Beat:
    """Timers that are due once in each period, at instants that never drift."""

    def __init__(self, start: float, periods: int, chance: random.Random) -> None:
        self.timers: Timers | None = None
        self.is_over = asyncio.Event()
        self.lateness: list[float] = []
        self._next_at = [start + chance.random() * PERIOD_S for _ in range(PERIODIC)]
        self._measured_from = start + _WARM_UP_PERIODS * PERIOD_S
        self._end = start + (_WARM_UP_PERIODS + periods) * PERIOD_S
        self._left = PERIODIC

    def start(self, timers: Timers) -> None:
        """Arm all of them; they are keys from 0."""
        self.timers = timers
        for key, at in enumerate(self._next_at):
            timers.arm(key, at)

    def due(self, key: int) -> None:
        """Note how late it is, and arm it for the next period."""
        planned = self._next_at[key]
        late = monotonic() - planned
        if planned >= self._measured_from:
            self.lateness.append(late)
        at = self._next_at[key] = planned + PERIOD_S
        if at < self._end:
            assert self.timers is not None, "started before anything is due"
            self.timers.arm(key, at)
            return
        self._left -= 1
        if not self._left:
            self.is_over.set()


async def measure(role: str, periods: int) -> None:
    """Arm a million, look how late others are due beside them, and disarm them."""
    loop = asyncio.get_running_loop()
    # The same instants in each round, and for each side.
    chance = random.Random(17)  # noqa: S311  (no secret)
    count = int(os.environ[COUNT])
    far = range(PERIODIC, PERIODIC + count)
    instants = [chance.uniform(_NEAREST_S, _FARTHEST_S) for _ in far]
    order = list(far)
    chance.shuffle(order)
    start = monotonic()
    instants = [start + seconds for seconds in instants]
    beat: Beat | None = None

    def on_due(key: int) -> None:
        assert beat is not None, "nothing else is due"
        beat.due(key)

    timers: Timers = CallAt(loop, on_due)
    if role == "ticker":
        timers = Ticker(loop, on_due)
    arm_s = _seconds(timers.arm, far, instants)
    beat = Beat(monotonic() + PERIOD_S, periods, chance)
    cpu = process_time()
    beat.start(timers)
    await beat.is_over.wait()
    cpu = process_time() - cpu
    disarm_s = _seconds(timers.disarm, order)
    note(
        "measured",
        arm_s=arm_s / count,
        disarm_s=disarm_s / count,
        lateness=beat.lateness,
        cpu_s=cpu / ((_WARM_UP_PERIODS + periods) * PERIODIC),
    )


def _seconds(call: Callable[..., None], *arguments: Sequence[object]) -> float:
    start = perf_counter()
    for each in zip(*arguments, strict=True):
        call(*each)
    return perf_counter() - start


if __name__ == "__main__":
    uvloop.run(measure(sys.argv[1], int(sys.argv[2])))
