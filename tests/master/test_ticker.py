import asyncio
import time

import pytest

from pymule.master.ticker import Ticker
from pymule.sansio.wheel import TimerWheel
from tests.conftest import MS, wait_until


class Calls:
    """What a ticker called, and the ticker."""

    def __init__(self, *faults: str) -> None:
        self.keys: list[str] = []
        self.acts: dict[str, tuple[str, ...]] = {}
        self._faults = faults
        self.ticker: Ticker[str] = Ticker(asyncio.get_running_loop(), self._due)

    def _due(self, key: str) -> None:
        self.keys.append(key)
        for other in self.acts.get(key, ()):
            self.ticker.disarm(other)
        if key in self._faults:
            raise ValueError(key)

    def arm(self, key: str, in_s: float) -> None:
        self.ticker.arm(key, time.monotonic() + in_s)

    async def until(self, *keys: str) -> None:
        await wait_until(lambda: len(self.keys) >= len(keys))
        assert self.keys == list(keys)

    def wakes_up_in(self) -> float | None:
        """Return the seconds to the one timer of the loop, if it has one."""
        timer = self.ticker._timer
        if timer is None:
            return None
        return timer.when() - asyncio.get_running_loop().time()


class Looks(TimerWheel[str]):
    """Counts how often somebody came when nothing was due, and asked what is next."""

    in_vain = 0
    asked = 0

    def next_due(self) -> float | None:
        self.asked += 1
        return super().next_due()

    def pop_due(self, now: float) -> list[str]:
        due = super().pop_due(now)
        self.in_vain += not due
        return due


async def test_keys_are_called_in_the_order_of_their_deadlines() -> None:
    calls = Calls()

    calls.arm("late", 30 * MS)
    calls.arm("soon", 5 * MS)
    calls.arm("past", -1)

    await calls.until("past", "soon", "late")
    assert calls.wakes_up_in() is None


async def test_the_loop_sleeps_for_parts_of_a_millisecond_too() -> None:
    wheel = Looks()
    calls = Calls()
    calls.ticker._wheel = wheel
    keys = [str(number) for number in range(20)]

    for number, key in enumerate(keys):
        calls.arm(key, number * 3.4 * MS)

    await calls.until(*keys)
    # uvloop's clock counts whole milliseconds: it may come once too early, no more.
    assert wheel.in_vain <= len(keys)


async def test_a_key_that_is_armed_again_has_one_deadline() -> None:
    calls = Calls()
    calls.arm("moved", 1)

    calls.arm("moved", 5 * MS)

    await calls.until("moved")
    assert "moved" not in calls.ticker


async def test_a_call_that_raises_costs_no_other_key_its_deadline() -> None:
    calls = Calls("first")
    errors: list[object] = []
    loop = asyncio.get_running_loop()
    trap = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: errors.append(context["exception"]))
    now = time.monotonic()
    for key, at in (("first", -3), ("second", -2), ("third", -1), ("later", 10 * MS)):
        calls.ticker.arm(key, now + at)

    await calls.until("first", "second", "third", "later")

    assert [str(error) for error in errors] == ["first"]
    loop.set_exception_handler(trap)


async def test_nothing_wakes_the_loop_for_a_key_that_was_disarmed() -> None:
    calls = Calls()
    calls.arm("hello", 5)

    calls.ticker.disarm("hello")

    assert calls.wakes_up_in() is None


async def test_the_loop_sleeps_on_when_the_first_key_is_disarmed() -> None:
    calls = Calls()
    calls.arm("hour", 3600)
    calls.arm("hello", 5)

    calls.ticker.disarm("hello")

    assert calls.wakes_up_in() == pytest.approx(3600, abs=2)
    calls.ticker.close()


async def test_a_later_key_that_is_disarmed_leaves_the_timer_alone() -> None:
    calls = Calls()
    calls.arm("hello", 5)
    calls.arm("hour", 3600)
    timer = calls.ticker._timer

    calls.ticker.disarm("hour")
    calls.ticker.disarm("unknown")

    assert calls.ticker._timer is timer
    calls.ticker.close()


async def test_only_the_end_of_the_first_deadline_makes_it_look_for_the_next() -> None:
    wheel = Looks()
    calls = Calls()
    calls.ticker._wheel = wheel
    for number in range(100):
        calls.arm(str(number), 3600 + number)
    asked = wheel.asked

    for number in range(1, 100):
        calls.ticker.disarm(str(number))

    assert wheel.asked == asked
    calls.ticker.disarm("0")
    assert wheel.asked > asked


async def test_a_key_that_a_call_before_it_disarms_is_not_called() -> None:
    calls = Calls()
    calls.acts["first"] = ("second",)
    now = time.monotonic()
    for key, at in (("first", -3), ("second", -2), ("third", -1)):
        calls.ticker.arm(key, now + at)

    await calls.until("first", "third")

    assert "second" not in calls.ticker


async def test_a_closed_ticker_wakes_nobody() -> None:
    calls = Calls()
    calls.arm("a", 3600)
    calls.arm("b", 7200)

    calls.ticker.close()
    calls.ticker.disarm("a")

    assert calls.wakes_up_in() is None
    assert "b" not in calls.ticker


async def test_others_have_their_turn_among_many_that_are_due() -> None:
    loop = asyncio.get_running_loop()
    called: list[int] = []

    def due(key: int) -> None:
        called.append(key)
        if key == 0:
            loop.call_soon(called.append, -1)

    ticker: Ticker[int] = Ticker(loop, due)
    for number in range(2_000):
        ticker.arm(number, time.monotonic() - 1)

    await wait_until(lambda: len(called) == 2_001)
    assert called[-1] == 1_999
    called.remove(-1)
    assert called == list(range(2_000))
