"""pymule's sender: a client on uvloop, outside of the mules."""

import asyncio
import os
import sys
from time import monotonic, perf_counter, process_time

import uvloop

from benchmarks.notes import (
    COUNT,
    PAYLOAD,
    WARM_UP,
    note,
    wait_for,
)
from pymule import flush, mule_msg

__all__ = ("fill", "fill_apart", "flood", "turns")


async def flood() -> None:
    """Send as fast as it goes, unconfirmed, then wait for all confirms."""
    number = int(os.environ[COUNT])
    await _warm_up()
    cpu, start = process_time(), monotonic()
    for _ in range(number):
        await mule_msg(PAYLOAD, confirm=False)
    await flush()
    note("sent", start=start, at=monotonic(), cpu_s=process_time() - cpu)


async def turns() -> None:
    """Send one message, wait until it is confirmed, send the next."""
    await _warm_up()
    times = []
    for _ in range(int(os.environ[COUNT])):
        start = perf_counter()
        await mule_msg(PAYLOAD)
        times.append(perf_counter() - start)
    note("measured", times=times)


async def fill() -> None:
    """Send all of them, and wait until they are confirmed; nobody takes them."""
    for _ in range(int(os.environ[COUNT])):
        await mule_msg(PAYLOAD, confirm=False)
    await flush()
    note("sent", at=monotonic())


async def fill_apart() -> None:
    """Do the same, one message in each turn of the loop: none is in a batch."""
    for _ in range(int(os.environ[COUNT])):
        await mule_msg(PAYLOAD, confirm=False)
        await asyncio.sleep(0)
    await flush()
    note("sent", at=monotonic())


async def _warm_up() -> None:
    for _ in range(WARM_UP):
        await mule_msg(PAYLOAD, confirm=False)
    await flush()
    await asyncio.to_thread(wait_for, "go")


if __name__ == "__main__":
    roles = {
        "fill": fill,
        "fill_apart": fill_apart,
        "flood": flood,
        "turns": turns,
    }
    uvloop.run(roles[sys.argv[1]]())
