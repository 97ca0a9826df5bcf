"""The application of pymule's mules for signals."""

from time import monotonic
from typing import Final

from benchmarks.marks import Marks
from pymule import signal

__all__ = ("ASYNC", "SYNC")

ASYNC: Final = 17
SYNC: Final = 18

_marks = Marks()


@signal(ASYNC, target="mule1")
async def on_loop(_number: int) -> None:
    """Note when it runs."""
    at = monotonic()
    _marks.add(at)


@signal(SYNC, target="mule1")
def in_thread(_number: int) -> None:
    """Note when it runs."""
    at = monotonic()
    _marks.add(at)
