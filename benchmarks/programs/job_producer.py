"""Sends jobs through a library: how fast it takes them, and how fast they are done."""

import asyncio
import importlib
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import islice
from time import monotonic
from typing import Final

import uvloop

from benchmarks.libraries.lines import (
    BUSY,
    NOBODY,
    TEXT,
    BlockingLine,
    Job,
    Library,
    Line,
)
from benchmarks.notes import Note, note, wait_for
from benchmarks.sheet import WARM_UP_JOBS, sheet

__all__ = ("all_done", "library", "main", "warm_up")

_CHUNK: Final = 1000
_LOOK_S: Final = 0.002


async def main(name: str) -> None:
    """Warm up, wait for the word, then measure one thing after the other."""
    module = library(name)
    async with module.line(BUSY) as line:
        await warm_up(line)
        note("warm")
        amounts = await asyncio.to_thread(wait_for, "go")
        await _flood(line)
    async with module.line(NOBODY) as line:
        note("taken", **await _rates(line, amounts))


def library(name: str) -> Library:
    """Load a module of the libraries."""
    module: Library = importlib.import_module(f"benchmarks.libraries.{name}")
    return module


async def warm_up(line: Line | BlockingLine) -> None:
    """Send the jobs that are not measured, and wait until they are done."""
    way = _one_by_one if isinstance(line, BlockingLine) else _gathered
    await way(line, _jobs(0, WARM_UP_JOBS))
    await all_done(WARM_UP_JOBS)


async def all_done(end: int) -> None:
    """Wait until the jobs of all rows before *end* are done."""
    while sheet().done_before(end) < end:  # noqa: ASYNC110  (others write to memory)
        await asyncio.sleep(_LOOK_S)


async def _flood(line: Line | BlockingLine) -> None:
    """Send all jobs in the fastest way of the library, and wait for the last one."""
    way = _gathered if isinstance(line, Line) and line.is_gathered else _one_by_one
    if line.put_many is not None:
        way = _in_bulk
    start = monotonic()
    await way(line, _jobs(WARM_UP_JOBS, sheet().size))
    sent = monotonic()
    await all_done(sheet().size)
    note("done", start=start, sent=sent, at=max(sheet().ended))


async def _rates(line: Line | BlockingLine, amounts: Note) -> dict[str, float]:
    """Return jobs a second, for each way of sending that the library has."""
    rates = {}
    for way in (_one_by_one, _gathered, _in_bulk):
        name = way.__name__.lstrip("_")
        count = amounts[name]
        assert isinstance(count, int), "made by the benchmark"
        if count and not (way is _in_bulk and line.put_many is None):
            # Connections are opened, and threads started.
            await way(line, _jobs(0, min(count, WARM_UP_JOBS)))
            start = monotonic()
            await way(line, _jobs(0, count))
            rates[name] = count / (monotonic() - start)
    return rates


async def _one_by_one(line: Line | BlockingLine, jobs: Iterator[Job]) -> None:
    if isinstance(line, BlockingLine):
        for job in jobs:
            line.put(job)
    else:
        for job in jobs:
            await line.put(job)


async def _gathered(line: Line | BlockingLine, jobs: Iterator[Job]) -> None:
    """Send a thousand at once; calls that block go to threads."""
    for chunk in _chunks(jobs):
        await asyncio.gather(*map(_put_of(line), chunk))


async def _in_bulk(line: Line | BlockingLine, jobs: Iterator[Job]) -> None:
    assert line.put_many is not None, "asked for before"
    for chunk in _chunks(jobs):
        done = line.put_many(chunk)
        if isinstance(line, Line):
            assert isinstance(done, Awaitable), "as its type says"
            await done


def _put_of(line: Line | BlockingLine) -> Callable[[Job], Awaitable[object]]:
    if isinstance(line, Line):
        return line.put
    put = line.put
    return lambda job: asyncio.to_thread(put, job)


def _jobs(first: int, end: int) -> Iterator[Job]:
    return ((row, 0.0, 0, TEXT) for row in range(first, end))


def _chunks(jobs: Iterator[Job]) -> Iterator[Sequence[Job]]:
    while chunk := list(islice(jobs, _CHUNK)):
        yield chunk


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
