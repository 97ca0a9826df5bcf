"""Sets timers of one hour, and leaves: they live as long as the master."""

import asyncio
import os

from benchmarks.notes import COUNT, note
from benchmarks.programs.pymule_signals import ASYNC
from pymule import add_timer, raise_signal

__all__ = ("arm",)

_HOUR_S = 3600.0


async def arm() -> None:
    """Raise the signal once, so that all of its way has been used."""
    await raise_signal(ASYNC)
    for _ in range(int(os.environ[COUNT])):
        await add_timer(ASYNC, _HOUR_S)


if __name__ == "__main__":
    asyncio.run(arm())
    note("armed")
