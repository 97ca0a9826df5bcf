import math
from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from pymule.sansio.wheel import CROWDED, LAST_TICK, TimerWheel

YEAR: Final = 365 * 86400.0
MANY: Final = 5 * CROWDED

# From the same instant, over the same millisecond, to beyond the last level.
SPANS = st.sampled_from([0.0, 0.0004, 0.3, 60.0, 86400.0, YEAR, 100 * YEAR])
PARTS = st.integers(0, 100).map(lambda percent: percent / 100)
DELAYS = st.builds(lambda span, part: span * part, SPANS, PARTS)


def all_of(wheel: TimerWheel[int]) -> list[int]:
    return wheel.pop_due(math.inf)


def wake_ups(wheel: TimerWheel[int]) -> int:
    count = 0
    while (at := wheel.next_due()) is not None:
        wheel.pop_due(at)
        count += 1
    return count


def test_an_empty_wheel_has_nothing_due() -> None:
    wheel = TimerWheel[str]()

    assert wheel.next_due() is None
    assert wheel.pop_due(1e9) == []
    assert len(wheel) == 0


def test_a_key_is_due_at_its_deadline_and_not_before() -> None:
    wheel = TimerWheel[str]()
    at = 1234.5678

    wheel.arm("tea", at)

    assert "tea" in wheel
    assert wheel.pop_due(math.nextafter(at, 0)) == []
    assert wheel.next_due() == at
    assert wheel.pop_due(at) == ["tea"]
    assert "tea" not in wheel


def test_a_key_comes_out_once() -> None:
    wheel = TimerWheel[str]()
    wheel.arm("tea", 1.0)
    wheel.pop_due(2.0)

    assert wheel.pop_due(3.0) == []
    assert wheel.next_due() is None


def test_a_deadline_in_the_past_is_due_at_once() -> None:
    wheel = TimerWheel[str]()
    wheel.arm("now", 100.0)
    wheel.pop_due(100.0)

    wheel.arm("late", 3.0)
    wheel.arm("before zero", -5.0)

    assert wheel.next_due() == -5.0
    assert wheel.pop_due(100.0) == ["before zero", "late"]


def test_arming_again_replaces_the_deadline() -> None:
    wheel = TimerWheel[str]()
    wheel.arm("tea", 10.0)

    wheel.arm("tea", 5000.0)

    assert len(wheel) == 1
    assert wheel.next_due() == 5000.0
    assert wheel.pop_due(4999.0) == []
    assert wheel.pop_due(5000.0) == ["tea"]


def test_equal_deadlines_come_out_as_they_were_armed() -> None:
    wheel = TimerWheel[str]()
    for key in ("c", "a", "b", "d"):
        wheel.arm(key, 7.0)

    wheel.arm("a", 7.0)

    assert wheel.pop_due(7.0) == ["c", "b", "d", "a"]


def test_deadlines_inside_one_millisecond_keep_their_order() -> None:
    wheel = TimerWheel[int]()
    for key in reversed(range(10)):
        wheel.arm(key, 5.0 + key * 1e-5)

    assert wheel.pop_due(5.0 + 4.5e-5) == [0, 1, 2, 3, 4]
    assert wheel.next_due() == 5.0 + 5e-5
    assert wheel.pop_due(6.0) == [5, 6, 7, 8, 9]


def test_disarm_returns_the_deadline_of_a_key_that_was_armed() -> None:
    wheel = TimerWheel[str]()
    wheel.arm("tea", 1.0)

    assert wheel.disarm("tea") == 1.0
    assert wheel.disarm("tea") is None
    assert wheel.pop_due(2.0) == []


def test_the_next_due_instant_is_exact_after_a_disarm() -> None:
    wheel = TimerWheel[str]()
    wheel.arm("first", 3600.0)
    wheel.arm("second", 3600.7)

    wheel.disarm("first")

    assert wheel.next_due() == 3600.7


def test_a_new_first_deadline_is_exact_after_a_disarm() -> None:
    wheel = TimerWheel[str]()
    wheel.arm("first", 3600.0)
    wheel.arm("second", 3600.7)
    wheel.disarm("first")

    wheel.arm("third", 3599.9)

    assert wheel.next_due() == 3599.9


@pytest.mark.parametrize("at", [math.inf, -math.inf, math.nan])
def test_what_is_no_instant_is_refused_and_changes_nothing(at: float) -> None:
    wheel = TimerWheel[str]()
    wheel.arm("tea", 1.0)

    with pytest.raises(AssertionError, match="no instant to wait for"):
        wheel.arm("tea", at)

    assert wheel.next_due() == 1.0


@pytest.mark.parametrize(
    "at_of",
    [
        lambda _key: 1000.0,
        lambda key: 1000.0 + key * 1e-6,
        lambda key: 1000.0 + key * 0.01,
        lambda key: 1000.0 + key * 3600.0,
        lambda key: key * YEAR,
        lambda key: -1.0 - (MANY - key),
        lambda key: 10.0 ** (key % 300),
    ],
    ids=["same", "same ms", "seconds", "days", "centuries", "past", "any size"],
)
def test_a_crowd_comes_out_whole_and_in_order(at_of: Callable[[int], float]) -> None:
    wheel = TimerWheel[int]()
    keys = [key * 7 % MANY for key in range(MANY)]
    for key in keys:
        wheel.arm(key, at_of(key))

    assert len(wheel) == MANY
    assert wheel.next_due() == min(map(at_of, keys))
    assert all_of(wheel) == sorted(keys, key=at_of)
    assert wheel.next_due() is None


def test_a_slot_that_is_divided_keeps_its_earliest_deadline() -> None:
    wheel = TimerWheel[int]()
    for key in range(CROWDED):
        wheel.arm(key, 1000.0009 - key * 1e-5)

    wheel.arm(CROWDED, 2000.0)

    assert wheel.next_due() == 1000.0009 - (CROWDED - 1) * 1e-5


def test_a_crowd_can_be_disarmed_in_any_order() -> None:
    wheel = TimerWheel[int]()
    for key in range(MANY):
        wheel.arm(key, key * 0.9)

    for key in range(0, MANY, 2):
        wheel.disarm(key)

    assert all_of(wheel) == list(range(1, MANY, 2))


def test_an_emptied_wheel_keeps_no_rings() -> None:
    wheel = TimerWheel[int]()
    for key in range(MANY):
        wheel.arm(key, key * 0.001)

    for key in range(MANY):
        wheel.disarm(key)

    assert not wheel._top.places
    assert not wheel._top.occupied


def test_a_far_entry_causes_one_wake_up() -> None:
    wheel = TimerWheel[int]()
    wheel.arm(1, 30 * YEAR)

    assert wake_ups(wheel) == 1


def test_there_is_one_wake_up_for_each_due_instant() -> None:
    wheel = TimerWheel[int]()
    for key in range(MANY):
        wheel.arm(key, key * 999.0)
    for key in range(0, MANY, 2):
        wheel.disarm(key)

    assert wake_ups(wheel) == MANY // 2


def test_a_dense_millisecond_costs_one_wake_up_in_vain_after_a_disarm() -> None:
    wheel = TimerWheel[int]()
    for key in range(MANY):
        wheel.arm(key, 1.0 + key * 1e-6)
    wheel.disarm(0)
    vain = wheel.next_due()

    assert vain == 1.0
    assert wheel.pop_due(vain) == []
    assert wheel.next_due() == 1.0 + 1e-6


def test_the_last_tick_and_what_is_beyond_it_are_in_order() -> None:
    wheel = TimerWheel[str]()
    last = LAST_TICK / 1000
    wheel.arm("later", last * 3)
    wheel.arm("last", last)
    wheel.arm("beyond", last + 1)

    assert wheel.pop_due(last) == ["last"]
    assert wheel.pop_due(last * 2) == ["beyond"]
    assert wheel.next_due() == last * 3


@given(st.lists(DELAYS, max_size=3 * CROWDED))
def test_any_deadlines_come_out_in_order(deadlines: list[float]) -> None:
    wheel = TimerWheel[int]()
    for key, at in enumerate(deadlines):
        wheel.arm(key, at)

    in_order = sorted(range(len(deadlines)), key=lambda key: deadlines[key])
    assert all_of(wheel) == in_order


class WheelAgainstADict(RuleBasedStateMachine):
    """The model is a dict of deadlines, in the order of arming."""

    @initialize(now=st.floats(0, YEAR))
    def begin(self, now: float) -> None:
        self.now = now
        self.wheel = TimerWheel[int]()
        self.model: dict[int, float] = {}
        self.keys = 0

    def _arm(self, key: int, at: float) -> None:
        self.wheel.arm(key, at)
        self.model.pop(key, None)
        self.model[key] = at

    @rule(delay=DELAYS)
    def arm(self, delay: float) -> None:
        self.keys += 1
        self._arm(self.keys, self.now + delay)

    @rule(delay=DELAYS, step=st.sampled_from([0.0, 1e-6, -1e-6, 0.001, -1.0]))
    def arm_a_crowd(self, delay: float, step: float) -> None:
        for number in range(CROWDED + 1):
            self.keys += 1
            self._arm(self.keys, self.now + delay + number * step)

    @rule(ago=DELAYS)
    def arm_in_the_past(self, ago: float) -> None:
        self.keys += 1
        self._arm(self.keys, self.now - ago)

    @precondition(lambda self: self.model)
    @rule(data=st.data(), delay=DELAYS)
    def arm_again(self, data: st.DataObject, delay: float) -> None:
        self._arm(data.draw(st.sampled_from(list(self.model))), self.now + delay)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def disarm(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(list(self.model)))
        at = self.model.pop(key)

        assert self.wheel.disarm(key) == at

    @precondition(lambda self: self.model)
    @rule()
    def disarm_the_first(self) -> None:
        key = min(self.model, key=lambda key: self.model[key])
        at = self.model.pop(key)

        assert self.wheel.disarm(key) == at

    @rule()
    def disarm_a_stranger(self) -> None:
        assert self.wheel.disarm(-1) is None

    @rule(delay=DELAYS)
    def let_time_pass(self, delay: float) -> None:
        self.now += delay
        self._pop()

    @precondition(lambda self: self.model)
    @rule()
    def sleep_until_the_next_is_due(self) -> None:
        at = self.wheel.next_due()
        assert at is not None
        self.now = max(self.now, at)
        self._pop()

    def _pop(self) -> None:
        due = [key for key, at in self.model.items() if at <= self.now]
        due.sort(key=lambda key: self.model[key])
        for key in due:
            del self.model[key]

        assert self.wheel.pop_due(self.now) == due

    @invariant()
    def the_next_due_instant_is_never_late(self) -> None:
        bound = self.wheel.next_due()
        earliest = min(self.model.values(), default=None)

        if earliest is None or bound is None:
            assert bound is earliest
        elif len(self.model) <= CROWDED:
            assert bound == earliest
        else:
            assert bound <= earliest

    @invariant()
    def it_holds_the_same_keys(self) -> None:
        assert self.wheel._slot_of.keys() == self.model.keys()
        assert len(self.wheel) == len(self.model)


TestWheelAgainstADict = WheelAgainstADict.TestCase
TestWheelAgainstADict.settings = settings(max_examples=40, stateful_step_count=30)
