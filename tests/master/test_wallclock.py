import asyncio
import errno
import logging
import os
import time
from collections.abc import Callable

import pytest

from pymule.master.timerfd import KERNEL, TimerCalls
from pymule.master.wallclock import WallClock, _Looks
from tests.conftest import MS, wait_until


class FakeKernel:
    """Its descriptor is readable when the test says so, and then gives what it says."""

    def __init__(self) -> None:
        self.armed_ns: list[int] = []
        self.refusal: int | None = None
        self.answers: list[int] = []
        self._fd = -1

    def create(self) -> int:
        self._fd = os.eventfd(0, os.EFD_NONBLOCK)
        return self._fd

    def arm(self, fd: int, at_ns: int) -> None:
        assert fd == self._fd
        self.armed_ns.append(at_ns)
        if number := self.refusal:
            self.refusal = None
            raise OSError(number, os.strerror(number))

    def read(self, fd: int) -> None:
        os.read(fd, 8)
        if number := self.answers.pop(0):
            raise OSError(number, os.strerror(number))

    def speak(self, *answers: int) -> None:
        self.answers += answers
        os.eventfd_write(self._fd, 1)


class WithoutTimers(FakeKernel):
    """As when all descriptors are in use."""

    def create(self) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


class Owner:
    """Counts the calls, and arms again at the instants it was given."""

    def __init__(
        self, calls: TimerCalls = KERNEL, wall: Callable[[], float] = time.time
    ) -> None:
        self.called_at: list[float] = []
        self.plan: list[float] = []
        self.clock = WallClock(
            asyncio.get_running_loop(), self._due, calls=calls, wall=wall
        )

    def _due(self) -> None:
        self.called_at.append(time.time())
        if self.plan:
            self.clock.arm(self.plan.pop(0))

    async def is_called(self, times: int = 1) -> None:
        await wait_until(lambda: len(self.called_at) >= times)
        assert len(self.called_at) == times


async def some_turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture(params=[KERNEL, WithoutTimers()], ids=["timerfd", "looking"])
def calls(request: pytest.FixtureRequest) -> TimerCalls:
    calls: TimerCalls = request.param
    return calls


async def test_it_is_due_when_the_clock_shows_the_instant(calls: TimerCalls) -> None:
    owner = Owner(calls)
    at = time.time() + 10 * MS

    owner.clock.arm(at)

    await owner.is_called()
    assert owner.called_at[0] >= at
    owner.clock.close()


async def test_the_past_is_due_at_once_but_never_within_the_call(
    calls: TimerCalls,
) -> None:
    owner = Owner(calls)

    owner.clock.arm(-5.0)

    assert not owner.called_at
    await owner.is_called()
    owner.clock.close()


async def test_a_call_arms_the_next(calls: TimerCalls) -> None:
    owner = Owner(calls)
    start = time.time()
    owner.plan = [start + 10 * MS, start + 20 * MS]

    owner.clock.arm(start)

    await owner.is_called(3)
    assert owner.called_at[2] >= start + 20 * MS
    owner.clock.close()


async def test_the_latest_instant_counts(calls: TimerCalls) -> None:
    owner = Owner(calls)
    now = time.time()
    owner.clock.arm(now + 5 * MS)
    owner.clock.arm(now + 3600)
    owner.clock.arm(now + 10 * MS)

    await owner.is_called()

    assert owner.called_at[0] >= now + 10 * MS
    owner.clock.close()


async def test_what_is_disarmed_is_not_due(calls: TimerCalls) -> None:
    owner, other = Owner(calls), Owner(calls)
    at = time.time() + 5 * MS
    owner.clock.arm(at)
    other.clock.arm(at + 10 * MS)

    owner.clock.arm(None)

    await other.is_called()
    assert not owner.called_at
    owner.clock.close()
    other.clock.close()


async def test_a_closed_clock_is_not_due_and_may_be_closed_again(
    calls: TimerCalls,
) -> None:
    owner, other = Owner(calls), Owner(calls)
    at = time.time() + 5 * MS
    owner.clock.arm(at)
    other.clock.arm(at + 10 * MS)

    owner.clock.close()
    owner.clock.close()

    await other.is_called()
    assert not owner.called_at
    other.clock.close()


async def test_the_instant_is_handed_to_the_kernel_in_nanoseconds() -> None:
    kernel = FakeKernel()
    owner = Owner(kernel)

    owner.clock.arm(1_800_000_000.25)
    owner.clock.arm(0.0)
    owner.clock.arm(None)

    assert kernel.armed_ns == [1_800_000_000_250_000_000, 1, 0]
    owner.clock.close()


async def test_a_clock_that_is_set_calls_too_and_leaves_nothing_armed() -> None:
    kernel = FakeKernel()
    owner = Owner(kernel)
    owner.clock.arm(time.time() + 3600)

    kernel.speak(errno.ECANCELED)

    await owner.is_called()
    assert kernel.armed_ns[1:] == [0]
    owner.clock.close()


async def test_a_clock_that_is_set_while_nothing_is_armed_calls_nobody() -> None:
    kernel = FakeKernel()
    owner = Owner(kernel)

    kernel.speak(errno.ECANCELED)

    await wait_until(lambda: not kernel.answers)
    assert not owner.called_at
    owner.clock.close()


async def test_a_clock_that_was_set_before_it_is_armed_anew_calls_later() -> None:
    kernel = FakeKernel()
    owner = Owner(kernel)
    owner.clock.arm(time.time() + 3600)
    kernel.refusal = errno.ECANCELED

    owner.clock.arm(time.time() + 1800)

    assert not owner.called_at
    await owner.is_called()
    owner.clock.close()


async def test_a_clock_that_was_set_before_it_is_closed_calls_nobody() -> None:
    kernel = FakeKernel()
    owner = Owner(kernel)
    kernel.refusal = errno.ECANCELED
    owner.clock.arm(time.time() + 3600)

    owner.clock.close()

    await some_turns()
    assert not owner.called_at


async def test_a_timer_that_was_armed_anew_meanwhile_is_not_due() -> None:
    kernel = FakeKernel()
    owner = Owner(kernel)
    owner.clock.arm(time.time() + 3600)

    kernel.speak(errno.EAGAIN)

    await wait_until(lambda: not kernel.answers)
    assert not owner.called_at
    owner.clock.close()


async def test_another_refusal_of_the_kernel_is_not_hidden() -> None:
    kernel = FakeKernel()
    owner = Owner(kernel)
    kernel.refusal = errno.EINVAL

    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):
        owner.clock.arm(1.0)

    owner.clock.close()


async def test_a_read_that_fails_is_told_to_the_loop() -> None:
    kernel = FakeKernel()
    owner = Owner(kernel)
    errors: list[object] = []
    loop = asyncio.get_running_loop()
    trap = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: errors.append(context["exception"]))
    owner.clock.arm(time.time() + 3600)

    kernel.speak(errno.EIO)

    await wait_until(lambda: errors)
    assert [type(error) for error in errors] == [OSError]
    assert not owner.called_at
    loop.set_exception_handler(trap)
    owner.clock.close()


async def test_a_kernel_without_timers_is_told_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "pymule.master"):
        owner = Owner(WithoutTimers())

    (record,) = caplog.records
    assert "looking at the wall clock instead" in record.getMessage()
    owner.clock.close()


def looks_in_s(owner: Owner) -> float | None:
    """Return the seconds to the next look at the clock, if there is to be one."""
    timer = owner.clock._timer
    assert isinstance(timer, _Looks)
    if timer._timer is None:
        return None
    return timer._timer.when() - asyncio.get_running_loop().time()


async def test_without_timers_the_clock_is_looked_at_once_a_minute() -> None:
    owner = Owner(WithoutTimers())
    assert looks_in_s(owner) is None

    owner.clock.arm(time.time() + 7200)

    assert looks_in_s(owner) == pytest.approx(60, abs=2)
    owner.clock.close()
    assert looks_in_s(owner) is None


async def test_without_timers_a_loop_that_is_early_sleeps_on() -> None:
    late = 0.5
    owner = Owner(WithoutTimers(), wall=lambda: time.time() - late)
    owner.clock.arm(time.time() - late + 10 * MS)
    late = 0.5 + 20 * MS

    await owner.is_called()

    owner.clock.close()


@pytest.mark.parametrize("step_s", [-7200, 7200])
async def test_without_timers_a_clock_that_was_set_is_noticed(step_s: int) -> None:
    ahead = 0
    owner = Owner(WithoutTimers(), wall=lambda: time.time() + ahead)
    owner.clock.arm(time.time() + 5 * MS)

    ahead = step_s

    await owner.is_called()
    assert looks_in_s(owner) is None
