"""One timer on the wall clock, which also notices when that clock is set.

The loop's own timers follow the monotonic clock. It stands still while the machine
sleeps, and does not know of a clock that is set.
"""

import asyncio
import errno
import logging
import math
import os
import time
from collections.abc import Callable
from typing import Final

from pymule.master.logs import log
from pymule.master.timerfd import KERNEL, TimerCalls

__all__ = ("WallClock",)

_LOGGER: Final = logging.getLogger("pymule.master")

# Without the kernel's timer: how often to look while something is armed, and which
# difference between the clocks is no adjustment.
_LOOK_S: Final = 60.0
_STEP_S: Final = 1.0


class WallClock:
    """Call *on_due* when the clock shows an instant, and when it was set.

    Each call disarms, so *on_due* arms again. It may be called with nothing due: the
    clock was set, or the machine woke up. While nothing is armed it is never called,
    and nothing wakes the loop.

    Args:
        loop: asyncio's or uvloop's.
        on_due: May arm.
        calls: How to ask the kernel; others are for tests, and so is *wall*.
        wall: Seconds since 1970.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_due: Callable[[], None],
        *,
        calls: TimerCalls = KERNEL,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._timer: _KernelTimer | _Looks
        try:
            self._timer = _KernelTimer(loop, on_due, calls)
        except OSError as exc:
            log(
                _LOGGER,
                logging.WARNING,
                "no timer of the kernel; looking at the wall clock instead",
                error=exc,
                every_s=_LOOK_S,
            )
            self._timer = _Looks(loop, on_due, wall)

    def arm(self, at: float | None) -> None:
        """Be due at *at*, seconds since 1970, and at no other time; ``None``: never."""
        self._timer.arm(at)

    def close(self) -> None:
        """Disarm for good. A second call does nothing."""
        self._timer.close()


class _KernelTimer:
    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_due: Callable[[], None],
        calls: TimerCalls,
    ) -> None:
        self._loop = loop
        self._on_due = on_due
        self._calls = calls
        self._is_armed = False
        self._fd = calls.create()
        loop.add_reader(self._fd, self._read)

    def arm(self, at: float | None) -> None:
        self._is_armed = at is not None
        try:
            self._calls.arm(self._fd, 0 if at is None else _ns(at))
        except OSError as exc:
            if exc.errno != errno.ECANCELED:
                raise
            # The kernel says it once, so there is nothing left to be read. In a turn
            # of its own: the caller may be in the middle of something.
            self._loop.call_soon(self._due)

    def close(self) -> None:
        self._is_armed = False
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _read(self) -> None:
        try:
            self._calls.read(self._fd)
        except BlockingIOError:
            return
        except OSError as exc:
            if exc.errno != errno.ECANCELED:
                raise
        self._due()

    def _due(self) -> None:
        if self._is_armed:
            # Else the kernel would go on to tell of each change of the clock.
            self.arm(None)
            self._on_due()


class _Looks:
    """The same without a timerfd: late by a minute at most after a change."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_due: Callable[[], None],
        wall: Callable[[], float],
    ) -> None:
        self._loop = loop
        self._on_due = on_due
        self._wall = wall
        self._at = 0.0
        self._ahead = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def arm(self, at: float | None) -> None:
        self.close()
        if at is not None:
            self._at = at
            self._ahead = self._wall() - time.monotonic()
            self._sleep()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _sleep(self) -> None:
        delay = min(max(self._at - self._wall(), 0.0), _LOOK_S)
        self._timer = self._loop.call_later(delay, self._look)

    def _look(self) -> None:
        self._timer = None
        now = self._wall()
        was_set = abs(now - time.monotonic() - self._ahead) > _STEP_S
        if was_set or now >= self._at:
            self._on_due()
        else:
            self._sleep()


def _ns(at: float) -> int:
    """Return nanoseconds, at least 1 and never earlier: 0 is never to the kernel."""
    # At once, the product would be rounded to 256 ns.
    part, seconds = math.modf(at)
    return max(int(seconds) * 1_000_000_000 + math.ceil(part * 1e9), 1)
