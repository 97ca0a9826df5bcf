"""What the mules run: they note what they take, work for a moment, and note the end.

``CHAOS_NOTES`` names the directory of the notes.
"""

import asyncio
import itertools
import os
import random
import threading
import time
from pathlib import Path
from typing import Final

import pymule
import pymule.sync
from pymule.mule.message import Message
from tests.chaos.history import Settle, Take
from tests.chaos.notes import Body, Notes

__all__ = ("blunt", "crowd", "hasty", "line")

# Longest work on one message, in seconds: long enough for many a kill to find some in
# hand.
_WORK_S: Final = 0.008
# One message in so many is given back once.
_RETURNED: Final = 50

_hands: Final = itertools.count()


class _Reporter:
    """The notes of one hand."""

    def __init__(self) -> None:
        self._notes = Notes(Path(os.environ["CHAOS_NOTES"]) / "mules")
        self._hand = next(_hands)

    def took(self, message: Message) -> None:
        body = Body.unpack(message.body)
        sender, counter, _ = body or ("?", 0, "")
        self._notes.add(
            Take(
                sender,
                counter,
                message.source,
                message.id,
                message.attempt,
                os.getpid(),
                self._hand,
                body is not None and body.queue == message.source,
                time.monotonic_ns(),
            )
        )

    def settles(self, message: Message, *, is_done: bool) -> None:
        self._notes.add(
            Settle(
                message.id,
                message.attempt,
                os.getpid(),
                is_done,
                time.monotonic_ns(),
            )
        )


async def line() -> None:
    """One message after the other, so that their order shows."""
    reporter = _Reporter()
    async for message in pymule.messages():
        reporter.took(message)
        await asyncio.sleep(_work_s() / 4)
        reporter.settles(message, is_done=True)


async def crowd() -> None:
    """Three at once, one of which gives some back."""
    await asyncio.gather(line(), _careful(), _careful())


async def _careful() -> None:
    reporter = _Reporter()
    while True:
        async with pymule.receive() as message:
            reporter.took(message)
            await asyncio.sleep(_work_s())
            if message.attempt == 1 and not random.randrange(_RETURNED):  # noqa: S311
                reporter.settles(message, is_done=False)
                message.nack(random.random() / 10)  # noqa: S311
            else:
                reporter.settles(message, is_done=True)


async def hasty() -> None:
    """Never let the loop turn: a kill finds some done and not acknowledged."""
    reporter = _Reporter()
    async for message in pymule.messages():
        reporter.took(message)
        time.sleep(_work_s() / 8)  # noqa: ASYNC251  (the point of it)
        reporter.settles(message, is_done=True)


def blunt() -> None:
    """Two threads that block."""
    threading.Thread(target=_blunt).start()
    _blunt()


def _blunt() -> None:
    reporter = _Reporter()
    for message in pymule.sync.messages():
        reporter.took(message)
        time.sleep(_work_s())
        reporter.settles(message, is_done=True)


def _work_s() -> float:
    return random.random() * _WORK_S  # noqa: S311  (keeps no secret)
