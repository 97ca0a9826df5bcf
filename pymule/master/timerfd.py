"""The kernel's timer on the wall clock, timerfd(2), as a descriptor to wait for.

Python has it from 3.13 on; before that, the C library is called. Remove that part when
3.13 is the floor.
"""

import os
import sys
import time
from typing import Final, Protocol

__all__ = ("KERNEL", "TimerCalls")


class TimerCalls(Protocol):
    """What is asked of the kernel. All calls raise ``OSError``."""

    def create(self) -> int:
        """Return a descriptor that does not block and that no mule inherits."""
        ...

    def arm(self, fd: int, at_ns: int) -> None:
        """Make *fd* readable when the clock shows *at_ns*, or as soon as it is set.

        In nanoseconds since 1970; 0 makes it readable never.

        Raises:
            OSError: With ``ECANCELED`` the clock was set since the last call. This
                one has had its effect nevertheless.
        """
        ...

    def read(self, fd: int) -> None:
        """Take what made *fd* readable.

        Raises:
            BlockingIOError: Nothing; it was armed anew since.
            OSError: With ``ECANCELED`` the clock was set.
        """
        ...


if sys.version_info >= (3, 13):

    class _Kernel:
        def create(self) -> int:
            flags = os.TFD_NONBLOCK | os.TFD_CLOEXEC
            return os.timerfd_create(time.CLOCK_REALTIME, flags=flags)

        def arm(self, fd: int, at_ns: int) -> None:
            flags = os.TFD_TIMER_ABSTIME
            if at_ns:
                flags |= os.TFD_TIMER_CANCEL_ON_SET
            os.timerfd_settime_ns(fd, flags=flags, initial=at_ns)

        def read(self, fd: int) -> None:
            os.read(fd, 8)

else:
    import ctypes

    _ABSTIME: Final = 1
    _CANCEL_ON_SET: Final = 2
    _LIBC: Final = ctypes.CDLL(None, use_errno=True)

    class _Spec(ctypes.Structure):
        # struct itimerspec: seconds and nanoseconds, of the interval and the first.
        _fields_ = (
            ("interval_s", ctypes.c_long),
            ("interval_ns", ctypes.c_long),
            ("first_s", ctypes.c_long),
            ("first_ns", ctypes.c_long),
        )

    class _Kernel:
        def create(self) -> int:
            flags = os.O_NONBLOCK | os.O_CLOEXEC
            return _call("timerfd_create", time.CLOCK_REALTIME, flags)

        def arm(self, fd: int, at_ns: int) -> None:
            flags = _ABSTIME | _CANCEL_ON_SET if at_ns else _ABSTIME
            spec = _Spec(0, 0, *divmod(at_ns, 1_000_000_000))
            _call("timerfd_settime", fd, flags, ctypes.byref(spec), None)

        def read(self, fd: int) -> None:
            os.read(fd, 8)

    def _call(name: str, *arguments: object) -> int:
        result: int = getattr(_LIBC, name)(*arguments)
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result


KERNEL: Final[TimerCalls] = _Kernel()
