"""What pymule's mules run."""

import asyncio
import os
from pathlib import Path
from time import monotonic, process_time

from benchmarks.notes import (
    COUNT,
    FOLDER,
    SCENARIO,
    WARM_UP,
    note,
)
from benchmarks.shapes import Shape, Tally
from pymule import mule_get_msg, mule_id, receive

__all__ = (
    "count",
    "drain",
    "hold",
    "refuse",
    "share",
    "sink",
    "wait",
)


async def count() -> None:
    """Get a flood, as a program that everybody writes would."""
    number, size = int(os.environ[COUNT]), 0
    for _ in range(WARM_UP):
        await mule_get_msg()
    note("warm")
    cpu = process_time()
    for _ in range(number):
        size += len(await mule_get_msg())
    note("received", at=monotonic(), size=size, cpu_s=process_time() - cpu)
    await asyncio.Event().wait()


async def drain() -> None:
    """Get what an earlier master left, and note when the first one is here."""
    number = int(os.environ[COUNT])
    size = len(await mule_get_msg())
    note("first", at=monotonic())
    for _ in range(number - 1):
        size += len(await mule_get_msg())
    note("received", at=monotonic(), size=size)
    # To ask again is to be done with the last one.
    await mule_get_msg()


async def refuse() -> None:
    """Never ask for a message, so that all of them stay in the queue."""
    await asyncio.Event().wait()


async def share() -> None:
    """Get what comes, from any farm, and tell how much that is."""
    mule = mule_id() - 1
    shape = Shape.parse(os.environ[SCENARIO])
    sizes, size = Tally(Path(os.environ[FOLDER]), shape.mules).sizes, 0
    note(f"up-{mule}")
    while True:
        size += len(await mule_get_msg())
        sizes[mule] = size


async def hold() -> None:
    """Keep a message at its first attempt for ever; be done with it at the second."""
    note(f"up-{mule_id()}")
    while True:
        async with receive() as message:
            at = monotonic()
            note(f"{message.body.decode()}-{message.attempt}", at=at, pid=os.getpid())
            if message.attempt == 1:
                await asyncio.Event().wait()


async def sink() -> None:
    """Get whatever comes."""
    while True:
        await mule_get_msg()


async def wait() -> None:
    """Wait for a message that never comes."""
    note(f"up-{mule_id()}")
    await mule_get_msg()
