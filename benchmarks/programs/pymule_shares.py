"""One of several senders of pymule: to one mule, a farm, or many farms in turn."""

import asyncio
import os
import sys
from itertools import cycle, islice
from time import monotonic
from typing import Final

import uvloop

from benchmarks.notes import COUNT, PAYLOAD, SCENARIO, WARM_UP, note, wait_for
from benchmarks.shapes import Shape
from pymule import farm_msg, flush, mule_msg

__all__ = ("send",)

_SHAPE: Final = Shape.parse(os.environ[SCENARIO])


async def send(sender: int) -> None:
    """Send a share as fast as it goes, unconfirmed, then wait for all confirms."""
    await asyncio.to_thread(wait_for, "warm-up")
    await _flood(_SHAPE.share(WARM_UP, sender))
    await asyncio.to_thread(wait_for, "go")
    start = monotonic()
    await _flood(_SHAPE.share(int(os.environ[COUNT]), sender))
    note(f"sent-{sender}", start=start)
    # Its CPU is looked at when all has come.
    await asyncio.Event().wait()


async def _flood(number: int) -> None:
    if _SHAPE.farms:
        names = [f"farm{farm}" for farm in range(_SHAPE.farms)]
        for name in islice(cycle(names), number):
            await farm_msg(name, PAYLOAD, confirm=False)
    else:
        for _ in range(number):
            await mule_msg(PAYLOAD, 1, confirm=False)
    await flush()


if __name__ == "__main__":
    uvloop.run(send(int(sys.argv[1])))
