import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pymule.sansio.run import Hands
from pymule.scoreboard import (
    BOARD_BYTES,
    IN_HAND,
    SLOTS,
    Held,
    Scoreboard,
    lane_word,
)

FIRST_SLOT: Final = 64
SLOT_WORDS: Final = 4
REPORT: Final = struct.Struct("=Q")

# Three consumers of one lane walk over its positions, as fast as they can. Each says
# that a message is done while it still has it in hand.
WALKER: Final = """
import itertools, os, struct, sys
from pymule.scoreboard import IN_HAND, Scoreboard, lane_word

board, out = Scoreboard(int(sys.argv[1])), int(sys.argv[2])
board.sign()
slots = [board.open_slot(5) for _ in range(3)]
for position in itertools.count():
    slot = slots[position % 3]
    if position >= 3:
        os.write(out, struct.pack("=Q", position - 3))
        if position % 2:
            board.words[slot] &= ~IN_HAND
    if position % 5:
        board.words[slot] = lane_word(5, position)
    else:
        board.take(slot, lane_word(5, position))
"""


@pytest.fixture
def memory() -> Iterator[int]:
    fd = os.memfd_create("test-board", os.MFD_CLOEXEC)
    os.ftruncate(fd, BOARD_BYTES)
    yield fd
    os.close(fd)


@pytest.fixture
def mule(memory: int) -> Iterator[Scoreboard]:
    """The page as the mule has it."""
    board = Scoreboard(memory)
    yield board
    board.close()


@pytest.fixture
def master(memory: int) -> Iterator[Scoreboard]:
    """The same page as the master has it."""
    board = Scoreboard(memory)
    yield board
    board.close()


def hands(taken: int, *held: int) -> Hands:
    return Hands(taken, frozenset(held))


def test_an_untouched_page_says_that_nothing_was_taken(master: Scoreboard) -> None:
    assert master.hands() == {}
    assert master.held() == []
    assert master.heartbeat_ns == 0


def test_the_page_outlives_the_descriptor_it_came_from() -> None:
    fd = os.memfd_create("test-board", os.MFD_CLOEXEC)
    os.ftruncate(fd, BOARD_BYTES)
    board = Scoreboard(fd)

    os.close(fd)
    board.beat(5)

    assert board.heartbeat_ns == 5
    board.close()


def test_a_mule_signs_its_page_and_beats(mule: Scoreboard, master: Scoreboard) -> None:
    mule.sign()
    mule.beat(123)

    assert master.words[0].to_bytes(8, "little") == b"pymule\x00\x01"
    assert master.words[1] == os.getpid()
    assert master.heartbeat_ns == 123


def test_what_a_consumer_takes_is_in_hand_since_then(
    mule: Scoreboard, master: Scoreboard
) -> None:
    slot = mule.open_slot(2)

    mule.take(slot, lane_word(2, 7))

    (held,) = master.held()
    assert (held.lane, held.position) == (2, 7)
    assert held.since_ns == mule.words[slot + 2] > 0
    assert master.hands() == {2: hands(8, 7)}


def test_a_message_taken_in_a_run_has_no_instant_of_its_own(
    mule: Scoreboard, master: Scoreboard
) -> None:
    slot = mule.open_slot(0)
    mule.take(slot, lane_word(0, 0))

    mule.words[slot] = lane_word(0, 1)

    assert master.held() == [Held(0, 1, None)]


def test_the_first_message_of_the_first_lane_is_seen(
    mule: Scoreboard, master: Scoreboard
) -> None:
    mule.take(mule.open_slot(0), lane_word(0, 0))

    assert master.hands() == {0: hands(1, 0)}


def test_asking_again_ends_the_last_message(
    mule: Scoreboard, master: Scoreboard
) -> None:
    slot = mule.open_slot(0)
    mule.take(slot, lane_word(0, 4))

    mule.take(slot, lane_word(0, 5))

    assert master.hands() == {0: hands(6, 5)}


def test_a_message_that_is_done_keeps_its_position(
    mule: Scoreboard, master: Scoreboard
) -> None:
    slot = mule.open_slot(0)
    mule.take(slot, lane_word(0, 4))

    mule.words[slot] &= ~IN_HAND

    assert master.held() == []
    assert master.hands() == {0: hands(5)}


def test_the_highest_position_of_a_lane_is_how_far_it_was_taken(
    mule: Scoreboard, master: Scoreboard
) -> None:
    for lane, position in ((0, 9), (1, 3), (0, 4), (0, 11), (1, 2)):
        mule.take(mule.open_slot(lane), lane_word(lane, position))

    assert master.hands() == {0: hands(12, 4, 9, 11), 1: hands(4, 2, 3)}


def test_a_slot_that_is_left_is_used_again_in_its_lane(mule: Scoreboard) -> None:
    first, second = mule.open_slot(0), mule.open_slot(1)
    mule.close_slot(0, first)

    assert mule.open_slot(1) not in {first, second}
    assert mule.open_slot(0) == first
    assert mule.open_slot(0) not in {first, second}


def test_a_slot_that_changes_hands_keeps_the_position(
    mule: Scoreboard, master: Scoreboard
) -> None:
    slot = mule.open_slot(3)
    mule.take(slot, lane_word(3, 8))

    mule.close_slot(3, slot)
    assert master.hands() == {3: hands(9)}
    mule.open_slot(3)
    assert master.hands() == {3: hands(9)}
    mule.take(slot, lane_word(3, 20))

    assert master.hands() == {3: hands(21, 20)}


def test_the_largest_lane_and_position_do_not_touch_each_other(
    mule: Scoreboard, master: Scoreboard
) -> None:
    lane, position = 2**16 - 1, 2**47 - 2

    mule.take(mule.open_slot(lane), lane_word(lane, position))

    assert master.hands() == {lane: hands(position + 1, position)}


def test_a_mule_has_room_for_so_many_consumers_and_no_more(
    mule: Scoreboard, master: Scoreboard
) -> None:
    mule.words[3] = SLOTS - 1
    last = mule.open_slot(0)
    mule.take(last, lane_word(0, 1))

    assert last + SLOT_WORDS == len(mule.words) == BOARD_BYTES // 8
    assert master.hands() == {0: hands(2, 1)}
    with pytest.raises(RuntimeError, match=f"more than {SLOTS} messages in hand"):
        mule.open_slot(0)


@given(
    word=st.lists(
        st.tuples(
            st.integers(0, lane_word(3, 5)) | st.integers(0, 2**64 - 1),
            st.integers(0, 2**64 - 1),
            st.integers(0, 2**64 - 1),
        ),
        max_size=50,
    ),
    head=st.lists(st.integers(0, 2**64 - 1), min_size=3, max_size=3),
    used=st.integers(0, 60) | st.sampled_from([SLOTS, SLOTS + 1, 2**64 - 1]),
)
@settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_whatever_a_mule_writes_the_master_reads_within_bounds(
    mule: Scoreboard,
    master: Scoreboard,
    word: list[tuple[int, int, int]],
    head: list[int],
    used: int,
) -> None:
    for index, number in enumerate([*head, used]):
        mule.words[index] = number
    for index in range(50):
        slot = FIRST_SLOT + SLOT_WORDS * index
        values = word[index] if index < len(word) else (0, 0, 0)
        for offset, value in enumerate(values):
            mule.words[slot + offset] = value

    in_hand, by_lane = master.held(), master.hands()

    assert len(in_hand) <= min(used, len(word))
    assert {held.lane for held in in_hand} <= by_lane.keys()
    for lane, found in by_lane.items():
        assert 0 <= lane < 2**16
        assert 0 <= found.taken < 2**47
        assert all(-1 <= position < found.taken for position in found.held)
        assert found.held == {held.position for held in in_hand if held.lane == lane}


@pytest.mark.parametrize("reports", [1, 2, 50, 3_000, 20_000])
def test_a_kill_at_any_moment_loses_no_message_in_hand(
    memory: int, master: Scoreboard, reports: int
) -> None:
    reader, writer = os.pipe()
    with subprocess.Popen(  # noqa: S603  (our own interpreter and script)
        [sys.executable, "-c", WALKER, str(memory), str(writer)],
        pass_fds=[memory, writer],
    ) as child:
        os.close(writer)
        with open(reader, "rb") as pipe:  # noqa: PTH123  (it is a descriptor)
            said = pipe.read(REPORT.size * reports)
            child.send_signal(signal.SIGKILL)
            said += pipe.read()

    reported = {position for (position,) in REPORT.iter_unpack(said)}
    found = master.hands()[5]
    done = set(range(found.taken)) - found.held
    assert len(reported) >= reports
    assert done <= reported
    # Said to be done, but not yet let go: tried again.
    assert len(reported - done) <= 1
    assert len(found.held) in {2, 3}
