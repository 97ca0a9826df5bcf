"""Sends jobs that take their time: many together, then slow ones among fast ones."""

import asyncio
import sys
from collections.abc import Callable
from time import monotonic

from benchmarks.libraries.lines import BUSY, TEXT, BlockingLine, Job, Line
from benchmarks.mixture import PERIOD_S, TOGETHER_S, nap_of
from benchmarks.notes import note, wait_for
from benchmarks.precise import precise_loop
from benchmarks.programs.job_producer import all_done, library, warm_up
from benchmarks.report import number
from benchmarks.sheet import WARM_UP_JOBS, sheet

__all__ = ("main",)


async def main(name: str) -> None:
    """Warm up, wait for the word, then send both kinds."""
    async with library(name).line(BUSY) as line:
        await warm_up(line)
        note("warm")
        together = await asyncio.to_thread(wait_for, "go")
        end = WARM_UP_JOBS + int(number(together, "together"))
        start = await _together(line, end)
        await _mixed(line, end)
        note("done", start=start)


async def _together(line: Line | BlockingLine, end: int) -> float:
    """Send all of them as fast as it goes, and wait for the last one."""
    put = _starter(line)
    start = monotonic()
    for row in range(WARM_UP_JOBS, end):
        put((row, TOGETHER_S, 0, TEXT))
    await all_done(end)
    return start


async def _mixed(line: Line | BlockingLine, first: int) -> None:
    """Send each at its planned time, whatever became of those before it."""
    put = _starter(line)
    start = monotonic() + PERIOD_S
    for place in range(sheet().size - first):
        planned = start + place * PERIOD_S
        sheet().planned[first + place] = planned
        await asyncio.sleep(max(0.0, planned - monotonic()))
        put((first + place, nap_of(place), 0, TEXT))
    await all_done(sheet().size)


def _starter(line: Line | BlockingLine) -> Callable[[Job], None]:
    """Return what sends a job without waiting for the answer, where it can."""
    if isinstance(line, BlockingLine):
        blocking = line.put
        return lambda job: _drop(blocking(job))
    put = line.put
    sends: set[asyncio.Future[object]] = set()

    def start(job: Job) -> None:
        send = asyncio.ensure_future(put(job))
        sends.add(send)
        send.add_done_callback(sends.discard)

    return start


def _drop(_answer: object) -> None:
    pass


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=precise_loop) as runner:
        runner.run(main(sys.argv[1]))
