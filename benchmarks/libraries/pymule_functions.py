"""pymule: functions that mules run when they are called."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from benchmarks.libraries.lines import BUSY, NOBODY, Line
from benchmarks.notes import note
from benchmarks.programs.job import work_async
from pymule import mule_id, mulefunc

__all__ = ("busy", "line", "main", "nobody")


@mulefunc(BUSY)
async def busy(row: int, nap_s: float, hashes: int, text: str) -> None:
    """Do a job."""
    await work_async(row, nap_s, hashes, text)


@mulefunc(NOBODY)
async def nobody(row: int, nap_s: float, hashes: int, text: str) -> None:
    """Do a job, but the queue is paused."""
    await work_async(row, nap_s, hashes, text)


async def main() -> None:
    """Do nothing: functions run beside the program."""
    note(f"up-{mule_id()}")
    await asyncio.Event().wait()


_FUNCTIONS: Final = {BUSY: busy, NOBODY: nobody}


@asynccontextmanager
async def line(queue: str) -> AsyncIterator[Line]:
    """Open a queue."""
    function = _FUNCTIONS[queue]
    yield Line(lambda job: _task(function(*job)))


def _task(call: asyncio.Task[int] | int) -> asyncio.Task[int]:
    assert isinstance(call, asyncio.Task), "a loop runs"
    return call
