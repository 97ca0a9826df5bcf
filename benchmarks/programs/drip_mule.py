"""What pymule's mules run when messages come at planned instants."""

import asyncio
from time import monotonic

from benchmarks.notes import PAYLOAD, WARM_UP, note
from benchmarks.pace import Arrivals, due, phases
from pymule import mule_get_msg, mule_msg, sync

__all__ = ("echo", "echo_blocking", "receiver", "receiver_blocking", "round_tripper")


async def receiver() -> None:
    """Look at the clock at each message."""
    for _ in range(WARM_UP):
        await mule_get_msg()
    note("warm")
    arrivals = Arrivals()
    while True:
        arrivals.add(await mule_get_msg(), monotonic())


def receiver_blocking() -> None:
    """Do the same in a ``def``, which blocks."""
    for _ in range(WARM_UP):
        sync.mule_get_msg()
    note("warm")
    arrivals = Arrivals()
    while True:
        arrivals.add(sync.mule_get_msg(), monotonic())


async def echo() -> None:
    """Send back to mule 2 what comes."""
    while True:
        await mule_msg(await mule_get_msg(), 2, confirm=False)


def echo_blocking() -> None:
    """Do the same in a ``def``, which blocks until each answer is confirmed."""
    while True:
        sync.mule_msg(sync.mule_get_msg(), 2)


async def round_tripper() -> None:
    """Send what is due to mule 1, and see when it is back."""
    receiving = asyncio.create_task(receiver())
    for _ in range(WARM_UP):
        await mule_msg(PAYLOAD, 1, confirm=False)
    for at, phase in enumerate(phases()):
        async for message in due(at, phase):
            await mule_msg(message, 1, confirm=False)
    await receiving
