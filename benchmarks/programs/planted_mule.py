"""A mule that takes longer for each message: a regression, planted."""

import asyncio
import os
from time import monotonic, process_time

from benchmarks.notes import COUNT, WARM_UP, note
from pymule import mule_get_msg

__all__ = ("count",)

# About as much work as all three processes together have with a message.
_TURNS = 200


async def count() -> None:
    """Get a flood."""
    number, size = int(os.environ[COUNT]), 0
    for _ in range(WARM_UP):
        await mule_get_msg()
    note("warm")
    cpu = process_time()
    for _ in range(number):
        size += len(await mule_get_msg())
        for _ in range(_TURNS):
            pass
    note("received", at=monotonic(), size=size, cpu_s=process_time() - cpu)
    await asyncio.Event().wait()
