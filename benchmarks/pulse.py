"""How long an event loop takes to see that something has happened.

Another process writes the time into a pipe each 2 ms; the loop reads it and looks at
the clock. A loop that is held up reads several at once, each with its own delay, so
nothing that happens to the loop can hide in a pause of the one who asks.
"""

import asyncio
import os
import time
from pathlib import Path
from struct import Struct
from typing import Final

from benchmarks.notes import FOLDER

__all__ = ("Pulse", "beat")

_EACH_S: Final = 0.002
_STAMP: Final = Struct("=d")
_PIPE_BYTES: Final = 65_536


class Pulse:
    """Feels it, in the running loop."""

    def __init__(self) -> None:
        path = _path()
        os.mkfifo(path)
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self._delays: list[float] = []
        asyncio.get_running_loop().add_reader(self._fd, self._read)

    def take(self) -> list[float]:
        """Return the delays since the last call, in seconds."""
        taken, self._delays = self._delays, []
        return taken

    def _read(self) -> None:
        stamps = os.read(self._fd, _PIPE_BYTES)
        now = time.monotonic()
        self._delays += [now - at for (at,) in _STAMP.iter_unpack(stamps)]


def beat() -> None:
    """Write it, for as long as the round lasts."""
    path = _path()
    while not path.exists():
        time.sleep(0.01)
    fd = os.open(path, os.O_WRONLY)
    due = time.monotonic()
    while True:
        due += _EACH_S
        time.sleep(max(0.0, due - time.monotonic()))
        os.write(fd, _STAMP.pack(time.monotonic()))


def _path() -> Path:
    return Path(os.environ[FOLDER], "pulse")


if __name__ == "__main__":
    beat()
