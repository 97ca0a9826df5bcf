"""The job that every library runs: it notes when, and sleeps or hashes if asked to."""

import asyncio
import os
import time
from hashlib import sha256
from time import monotonic
from typing import Final

from benchmarks.sheet import sheet

__all__ = ("work", "work_async")

_BLOCK: Final = bytes(1024)


def work(row: int, nap_s: float, hashes: int, text: str) -> None:
    """Do it, in a process or a thread of its own."""
    del text
    sheet().began[row] = monotonic()
    if nap_s:
        time.sleep(nap_s)
    _finish(row, hashes)


async def work_async(row: int, nap_s: float, hashes: int, text: str) -> None:
    """Do it, on an event loop."""
    del text
    sheet().began[row] = monotonic()
    if nap_s:
        await asyncio.sleep(nap_s)
    _finish(row, hashes)


def _finish(row: int, hashes: int) -> None:
    for _ in range(hashes):
        sha256(_BLOCK)
    here = sheet()
    here.worker[row] = os.getpid()
    here.ended[row] = monotonic()
