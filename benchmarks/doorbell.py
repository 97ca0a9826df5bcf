"""One process of a round tells another that something happened, and both may sleep.

A named pipe: a byte for each ring. Light, as the notes are, and for the same reason.
"""

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from benchmarks.notes import FOLDER

__all__ = ("Bell", "Doorbell")

# What a pipe of Linux holds.
_MOST: Final = 65_536


class Bell:
    """What one rings.

    Args:
        name: Of a pipe in the round's folder; whoever is first makes it.
    """

    def __init__(self, name: str) -> None:
        path = Path(os.environ[FOLDER], name)
        with suppress(FileExistsError):
            os.mkfifo(path)
        # Read and write, so that neither side waits until the other is there.
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)

    def ring(self, times: int = 1) -> None:
        """Do it, at once as often as wanted."""
        os.write(self._fd, b"!" * times)


class Doorbell(Bell):
    """What one listens to, from within a loop."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._rings = 0
        self._rung = asyncio.Event()
        asyncio.get_running_loop().add_reader(self._fd, self._read)

    async def heard(self, times: int = 1) -> None:
        """Wait until it has rung so many times more."""
        while self._rings < times:
            self._rung.clear()
            await self._rung.wait()
        self._rings -= times

    def _read(self) -> None:
        self._rings += len(os.read(self._fd, _MOST))
        self._rung.set()
