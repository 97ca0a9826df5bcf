"""How long an event loop takes to see that something has happened.

Another process writes the time into a pipe each 2 ms; the loop reads it and looks at
the clock. A loop that is held up reads several at once, each with its own delay, so
nothing that happens to the loop can hide in a pause of the one who asks.

Where cores are scarce, most of a delay is that the process waited for one. The kernel
counts that, so it can be taken off: what is left is due to the process itself.
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
_SCHEDSTAT_BYTES: Final = 100
_NANO: Final = 1e-9


class Pulse:
    """Feels it, in the running loop."""

    def __init__(self) -> None:
        path = _path()
        os.mkfifo(path)
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self._schedstat = os.open("/proc/self/schedstat", os.O_RDONLY)
        self._waited_s = self._waits_for_a_core()
        self._delays: list[float] = []
        self._own: list[float] = []
        asyncio.get_running_loop().add_reader(self._fd, self._read)

    def take(self) -> tuple[list[float], list[float]]:
        """Return the delays since the last call, and what the process has of them."""
        taken = self._delays, self._own
        self._delays, self._own = [], []
        return taken

    def _read(self) -> None:
        stamps = os.read(self._fd, _PIPE_BYTES)
        now, waited_s = time.monotonic(), self._waits_for_a_core()
        delays = [now - at for (at,) in _STAMP.iter_unpack(stamps)]
        waits_s, self._waited_s = waited_s - self._waited_s, waited_s
        self._delays += delays
        self._own += [max(0.0, delay - waits_s) for delay in delays]

    def _waits_for_a_core(self) -> float:
        """Return the seconds for which this thread could run and had no core."""
        return int(os.pread(self._schedstat, _SCHEDSTAT_BYTES, 0).split()[1]) * _NANO


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
