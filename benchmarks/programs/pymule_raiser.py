"""Raises a signal of pymule, again and again: a client on uvloop, outside of the mules.

``python -m benchmarks.programs.pymule_raiser NUMBER``
"""

import asyncio
import sys
from time import monotonic

import uvloop

from benchmarks.marks import WARM_UP_TURNS, Marks
from benchmarks.notes import PERIOD_S, note, wait_for
from pymule import raise_signal

__all__ = ("drip",)


async def drip(number: int) -> None:
    """Raise it when its handler has run and everybody has gone to sleep again."""
    marks = Marks()
    latencies = []
    for turn in range(marks.size):
        if turn == WARM_UP_TURNS:
            note("warm")
            await asyncio.to_thread(wait_for, "go")
        raised = monotonic()
        await raise_signal(number)
        await asyncio.sleep(PERIOD_S)
        while not marks[turn]:  # noqa: ASYNC110  (another process marks it)
            await asyncio.sleep(PERIOD_S)
        latencies.append(marks[turn] - raised)
    note("received", latencies=latencies[WARM_UP_TURNS:])


if __name__ == "__main__":
    uvloop.run(drip(int(sys.argv[1])))
