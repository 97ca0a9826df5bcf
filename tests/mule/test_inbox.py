"""The inbox against a model that notes what became of each position."""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
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

from pymule.errors import RemoteProtocolError
from pymule.mule.inbox import Hand, Lane, LoopWaiter, ThreadWaiter
from pymule.sansio.batch import pack_bodies
from pymule.sansio.run import Hands
from pymule.sansio.verbs import Credit, Deliver, Return
from pymule.scoreboard import Scoreboard
from tests.conftest import MS
from tests.mule.conftest import new_board

LANE: Final = 7
WINDOW_S: Final = 0.002


def a_delivery(count: int, *, first_id: int = 1, attempt: int = 1) -> Deliver:
    bodies = [str(first_id + index).encode() for index in range(count)]
    return Deliver(first_id, count, LANE, attempt, b"mule", b"", pack_bodies(bodies))


class State(Enum):
    UNTAKEN = "untaken"
    IN_HAND = "in hand"
    # Nacked, and the hand is still there.
    NACKED = "nacked"
    DONE = "done"
    # Acknowledged, nacked for good, or returned: the master knows.
    SETTLED = "settled"


@dataclass
class Position:
    id: int
    attempt: int
    state: State = State.UNTAKEN


class LaneMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.board = new_board()
        self.loop = asyncio.SelectorEventLoop()
        self.lane = Lane(LANE, True, ["mule"], self.board, None)  # noqa: FBT003
        self.positions: list[Position] = []
        self.hands: list[Hand] = []
        self.holds: dict[Hand, int] = {}
        self.nacked: list[Hand] = []
        self.now = 0.0
        self.next_id = 1

    def teardown(self) -> None:
        self.board.close()
        self.loop.close()

    @initialize(
        hands=st.integers(1, 3), is_home=st.booleans(), limit=st.integers(1, 20)
    )
    def begin(self, hands: int, limit: int, *, is_home: bool) -> None:
        self.hands = [Hand(self.lane) for _ in range(hands)]
        self.lane.home = self.loop if is_home else None
        self.grant(limit)

    # The link

    @rule(count=st.integers(1, 12), gap=st.integers(0, 3), attempt=st.integers(1, 3))
    @precondition(lambda self: self.lane.limit_ever > self.lane.received)
    def arrive(self, count: int, gap: int, attempt: int) -> None:
        count = min(count, self.lane.limit_ever - self.lane.received)
        first_id = self.next_id + gap
        self.next_id = first_id + count

        self.lane.arrive(a_delivery(count, first_id=first_id, attempt=attempt))

        self.positions += [Position(first_id + i, attempt) for i in range(count)]

    @rule(beyond=st.integers(1, 5))
    def exceed_the_limit(self, beyond: int) -> None:
        count = max(self.lane.limit_ever - self.lane.received, 0) + beyond

        with pytest.raises(RemoteProtocolError, match="the limit is"):
            self.lane.arrive(a_delivery(count))

    @rule(waiting=st.integers(0, 20))
    def grant(self, waiting: int) -> None:
        before = self.lane.limit
        # Only a lane without messages is waited for.
        self.lane.waiting = 0 if self.lane.untaken else waiting

        limit = self.lane.new_limit()

        if limit is None:
            assert self.lane.limit == before
        else:
            assert limit == self.lane.limit != before
            assert limit >= self.lane.received
        is_starving = self.lane.waiting and self.lane.limit <= self.lane.received
        assert not is_starving, "a consumer waits and the master may send nothing"
        self.lane.waiting = 0

    @rule()
    def acknowledge(self) -> None:
        for first_id, count, attempt in self.lane.new_acks():
            for number in range(first_id, first_id + count):
                position = self._position_of(number)
                assert position.state is State.DONE
                assert position.attempt == attempt
                position.state = State.SETTLED
        assert State.DONE not in [position.state for position in self.positions]

    def _position_of(self, number: int) -> Position:
        return next(one for one in self.positions if one.id == number)

    @rule()
    def give_back(self) -> None:
        self.acknowledge()

        verbs = self.lane.give_back()

        limit = next(verb.limit for verb in verbs if isinstance(verb, Credit))
        given = [
            each for verb in verbs if isinstance(verb, Return) for each in verb.ranges
        ]
        ids = [
            (i, attempt) for first, n, attempt in given for i in range(first, first + n)
        ]
        untaken = [one for one in self.positions if one.state is State.UNTAKEN]
        assert ids == [(one.id, one.attempt) for one in untaken]
        assert limit == len(self.positions)
        for one in untaken:
            one.state = State.SETTLED

    # Consumers

    @rule()
    @precondition(lambda self: len(self.hands) < 6)
    def open_hand(self) -> None:
        self.hands.append(Hand(self.lane))

    @rule(data=st.data(), seconds=st.floats(0, 0.1))
    @precondition(lambda self: self.hands)
    def ask(self, data: st.DataObject, seconds: float) -> None:
        """The way under the lock."""
        hand = data.draw(st.sampled_from(self.hands))
        self.now += seconds

        hand.let_go()
        self._previous_is_done(hand)
        self.lane.measure(self.now)
        body = self.lane.take(hand)

        self._took(hand, body)

    @rule(data=st.data())
    @precondition(lambda self: self.hands and self.lane.home is not None)
    def ask_on_the_short_path(self, data: st.DataObject) -> None:
        """Step by step, with the link and a kill after each."""
        hand = data.draw(st.sampled_from(self.hands))
        acknowledged_after = data.draw(st.integers(0, 3))
        lane = self.lane
        for body in lane.walk:
            word = lane.word
            self._look(0, acknowledged_after)
            lane.words[hand.slot] = word
            self._previous_is_done(hand)
            self._took(hand, body)
            self._look(1, acknowledged_after)
            lane.word = word + 2
            self._look(2, acknowledged_after)
            return

    def _look(self, step: int, acknowledged_after: int) -> None:
        self.the_board_tells_a_kill_the_truth()
        if step == acknowledged_after:
            self.acknowledge()

    def _previous_is_done(self, hand: Hand) -> None:
        if hand in self.holds:
            self.positions[self.holds.pop(hand)].state = State.DONE

    def _took(self, hand: Hand, body: bytes | None) -> None:
        untaken = [
            at for at, one in enumerate(self.positions) if one.state is State.UNTAKEN
        ]
        if body is None:
            assert not untaken
            assert hand.position is None
            return
        at = untaken[0]
        position = self.positions[at]
        arrival = self.lane.arrival_of(at)
        assert hand.position == at
        assert body == str(position.id).encode()
        assert arrival.first_id + at - arrival.start == position.id
        assert arrival.attempt == position.attempt
        position.state = State.IN_HAND
        self.holds[hand] = at

    @rule(data=st.data())
    @precondition(lambda self: self.hands)
    def let_go(self, data: st.DataObject) -> None:
        hand = data.draw(st.sampled_from(self.hands))

        hand.let_go()

        self._previous_is_done(hand)

    @rule(data=st.data())
    @precondition(lambda self: self.hands)
    def close_hand(self, data: st.DataObject) -> None:
        hand = data.draw(st.sampled_from(self.hands))

        hand.close()

        self.hands.remove(hand)
        self._previous_is_done(hand)

    @rule(data=st.data())
    @precondition(lambda self: any(hand in self.holds for hand in self.hands))
    def nack(self, data: st.DataObject) -> None:
        holding = [hand for hand in self.hands if hand in self.holds]
        hand = data.draw(st.sampled_from(holding))

        self.lane.nacked(self.holds[hand])

        self.positions[self.holds[hand]].state = State.NACKED
        self.hands.remove(hand)
        self.nacked.append(hand)

    @rule()
    @precondition(lambda self: self.nacked)
    def the_kernel_has_the_nack(self) -> None:
        hand = self.nacked.pop(0)

        hand.close()

        self.positions[self.holds.pop(hand)].state = State.SETTLED

    # Threads and loops

    @rule()
    def interrupt(self) -> None:
        self.lane.interrupt()

    @rule()
    def share(self) -> None:
        self.lane.share()

    @rule()
    @precondition(lambda self: self.lane.home is None)
    def come_home(self) -> None:
        self.lane.interrupt()
        self.lane.home = self.loop

    # What always holds

    @invariant()
    def the_board_tells_a_kill_the_truth(self) -> None:
        hands = self.board.hands().get(LANE, Hands(0, frozenset()))
        in_hand = {State.IN_HAND, State.NACKED}
        for at, position in enumerate(self.positions):
            assert (at in hands.held) == (position.state in in_hand)
            if at < hands.taken:
                assert position.state is not State.UNTAKEN
            elif position.state is not State.UNTAKEN:
                # Only what went back is above all that was taken.
                assert position.state is State.SETTLED
        for at in range(hands.taken):
            if at not in hands.held:
                assert self.positions[at].state in {State.DONE, State.SETTLED}

    @invariant()
    def what_is_untaken_is_counted(self) -> None:
        states = [position.state for position in self.positions]
        assert self.lane.untaken == states.count(State.UNTAKEN)
        assert self.lane.received == len(self.positions)

    @invariant()
    def arrivals_are_forgotten(self) -> None:
        starts = [arrival.start for arrival in self.lane.arrivals]
        assert starts == sorted(set(starts))


TestLaneMachine = LaneMachine.TestCase
TestLaneMachine.settings = settings(
    max_examples=200, stateful_step_count=40, deadline=None
)


@pytest.fixture
def board() -> Iterator[Scoreboard]:
    board = new_board()
    yield board
    board.close()


def a_lane(board: Scoreboard, credit: int | None = None) -> Lane:
    return Lane(LANE, True, ["mule"], board, credit)  # noqa: FBT003


def test_no_arrival_is_kept_when_all_of_it_is_acknowledged(board: Scoreboard) -> None:
    lane = a_lane(board, credit=10)
    lane.new_limit()
    lane.arrive(a_delivery(3))
    hand = Hand(lane)
    while lane.take(hand) is not None:
        pass

    hand.let_go()
    acks = lane.new_acks()

    assert acks == [(1, 3, 1)]
    assert not lane.arrivals
    assert lane.new_acks() == []


def test_acks_of_neighbours_with_a_hand_between_them_are_two_ranges(
    board: Scoreboard,
) -> None:
    lane = a_lane(board, credit=10)
    lane.new_limit()
    lane.arrive(a_delivery(3, first_id=50, attempt=2))
    first, second, third = Hand(lane), Hand(lane), Hand(lane)
    for hand in (first, second, third):
        lane.take(hand)

    first.let_go()
    third.let_go()

    assert lane.new_acks() == [(50, 1, 2), (52, 1, 2)]
    second.let_go()
    assert lane.new_acks() == [(51, 1, 2)]


def test_a_position_of_no_arrival_is_our_own_mistake(board: Scoreboard) -> None:
    with pytest.raises(AssertionError, match="in no arrival"):
        a_lane(board).arrival_of(3)


def test_a_lane_asks_for_nothing_before_somebody_waits(board: Scoreboard) -> None:
    lane = a_lane(board)

    assert lane.new_limit() is None
    lane.waiting = 3
    assert lane.new_limit() == 3
    assert lane.new_limit() is None


def test_a_limit_that_nobody_waits_for_any_more_is_taken_back(
    board: Scoreboard,
) -> None:
    lane = a_lane(board)
    lane.waiting = 3
    lane.new_limit()
    lane.arrive(a_delivery(1))

    lane.waiting = 0

    assert lane.new_limit() == 1
    # What the master sent before it heard of that is welcome all the same.
    lane.arrive(a_delivery(2, first_id=2))
    assert lane.received == 3


@given(service_s=st.floats(1e-7, 1.0), count=st.integers(1, 50))
def test_the_window_is_what_can_be_done_in_two_milliseconds(
    service_s: float, count: int
) -> None:
    board = new_board()
    lane = a_lane(board)
    lane.waiting = count
    lane.new_limit()
    lane.waiting = 0
    lane.arrive(a_delivery(count))
    hand = Hand(lane)
    lane.mark(10.0)
    while lane.take(hand) is not None:
        pass

    lane.measure(10.0 + count * service_s)
    window = lane.window
    board.close()

    assert window == pytest.approx(min(WINDOW_S / service_s, 16_384), rel=0.01, abs=1)


def test_the_window_follows_the_service_time(board: Scoreboard) -> None:
    lane = a_lane(board)
    hand = Hand(lane)
    windows = []
    now = 0.0
    lane.mark(now)
    for number, service_s in enumerate([0.0001] * 5 + [0.01] * 8 + [0.0001] * 14):
        lane.waiting = 1
        lane.new_limit()
        lane.waiting = 0
        lane.arrive(a_delivery(1, first_id=number + 1))
        lane.take(hand)
        now += service_s
        lane.measure(now)
        windows.append(lane.window)

    assert windows[4] == pytest.approx(20, abs=1)
    assert windows[12] == 0
    assert windows[-1] == pytest.approx(20, abs=1)


def test_a_fixed_credit_stays_fixed(board: Scoreboard) -> None:
    lane = a_lane(board, credit=5)
    limits = [lane.new_limit()]
    hand = Hand(lane)
    lane.arrive(a_delivery(5))
    lane.mark(0.0)
    for second in range(5):
        lane.take(hand)
        lane.measure(float(second))
        limits.append(lane.new_limit())

    lane.slow_down()

    assert limits == [5, None, 7, None, 9, None]
    assert lane.window == 5


def test_a_lane_that_was_slowed_down_holds_nothing(board: Scoreboard) -> None:
    lane = a_lane(board)
    lane.waiting = 4
    lane.new_limit()
    lane.waiting = 0
    lane.window = 100

    lane.slow_down()

    assert lane.window == 0
    assert not lane.waiting
    assert lane.new_limit() == 0


def test_a_lane_is_late_when_less_than_half_was_taken_since(board: Scoreboard) -> None:
    lane = a_lane(board, credit=5)
    lane.new_limit()
    lane.arrive(a_delivery(5))
    hand = Hand(lane)
    mark = lane.position, lane.received

    late = []
    for _ in range(5):
        lane.take(hand)
        late.append(lane.is_late(*mark))

    assert late == [True, True, False, False, False]


def test_credit_is_due_when_half_of_the_window_is_used(board: Scoreboard) -> None:
    lane = a_lane(board, credit=4)
    lane.new_limit()
    lane.arrive(a_delivery(4))
    hand = Hand(lane)

    due = []
    for _ in range(3):
        due.append(lane.is_credit_due)
        lane.take(hand)

    assert due == [False, False, True]


def test_a_thread_is_woken_or_told_that_it_waited_in_vain() -> None:
    waiter = ThreadWaiter()

    in_vain = waiter.wait(1 * MS)
    waiter.wake()

    assert not in_vain
    assert waiter.wait(None)


async def test_a_consumer_in_a_loop_is_woken_from_its_own_thread() -> None:
    waiter = LoopWaiter()

    waiter.wake()
    waiter.wake()

    assert waiter.woken.done()


async def test_a_consumer_in_a_loop_is_woken_from_another_thread() -> None:
    waiter = LoopWaiter()
    thread = threading.Thread(target=waiter.wake)

    thread.start()
    async with asyncio.timeout(5000 * MS):
        await waiter.woken

    thread.join()
    assert waiter.woken.done()


def test_waking_a_consumer_whose_loop_is_closed_does_no_harm() -> None:
    async def wait() -> LoopWaiter:
        return LoopWaiter()

    waiters: list[LoopWaiter] = []
    thread = threading.Thread(target=lambda: waiters.append(asyncio.run(wait())))
    thread.start()
    thread.join()

    waiters[0].wake()

    assert not waiters[0].woken.done()
