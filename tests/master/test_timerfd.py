import errno
import os
import select
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pymule.master.timerfd import KERNEL


@pytest.fixture
def fd() -> Iterator[int]:
    fd = KERNEL.create()
    yield fd
    os.close(fd)


def is_readable(fd: int, within_s: float = 0) -> bool:
    return bool(select.select([fd], [], [], within_s)[0])


def in_ns(delay_s: float) -> int:
    return time.time_ns() + int(delay_s * 1e9)


def test_a_timer_is_readable_when_the_clock_shows_its_instant(fd: int) -> None:
    at_ns = in_ns(0.01)

    KERNEL.arm(fd, at_ns)

    assert is_readable(fd, 5)
    assert time.time_ns() >= at_ns
    KERNEL.read(fd)
    assert not is_readable(fd)


def test_an_instant_in_the_past_is_readable_at_once(fd: int) -> None:
    KERNEL.arm(fd, 1)

    assert is_readable(fd)


def test_a_timer_that_is_armed_anew_forgets_what_was_readable(fd: int) -> None:
    KERNEL.arm(fd, 1)

    KERNEL.arm(fd, in_ns(3600))

    assert not is_readable(fd)
    with pytest.raises(BlockingIOError):
        KERNEL.read(fd)


def test_zero_disarms(fd: int) -> None:
    KERNEL.arm(fd, 1)

    KERNEL.arm(fd, 0)

    assert not is_readable(fd)


def test_a_timer_asks_to_be_told_when_the_clock_is_set(fd: int) -> None:
    KERNEL.arm(fd, in_ns(3600))
    info = Path(f"/proc/self/fdinfo/{fd}").read_text()

    # CLOCK_REALTIME; TFD_TIMER_ABSTIME and TFD_TIMER_CANCEL_ON_SET, in octal.
    assert "clockid: 0\n" in info
    assert "settime flags: 03\n" in info


def test_a_timer_is_not_inherited_and_does_not_block(fd: int) -> None:
    assert not os.get_inheritable(fd)
    assert not os.get_blocking(fd)


def test_what_is_no_timer_is_refused_with_its_reason() -> None:
    other = os.eventfd(0)

    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)) as caught:
        KERNEL.arm(other, 1)

    assert caught.value.errno == errno.EINVAL
    os.close(other)
