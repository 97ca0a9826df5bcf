import asyncio
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import pytest

from pymule.master.generation import Generation, MuleSpec, Process
from pymule.master.spawner import MuleProcess
from pymule.sansio.link import LinkId
from pymule.sansio.supervision import LifeTimeouts, MuleLife, RestartPolicy
from pymule.scoreboard import BOARD_BYTES, Scoreboard, lane_word
from tests.master.harness import a_spec


@pytest.fixture
def board() -> Iterator[Scoreboard]:
    fd = os.memfd_create("board")
    os.ftruncate(fd, BOARD_BYTES)
    board = Scoreboard(fd)
    os.close(fd)
    yield board
    board.close()


def process_with(board: Scoreboard, started_at: float = 0.0) -> Process:
    """Return a process of which only its board is looked at."""
    return Process(LinkId(1), cast(MuleProcess, None), board, started_at)


def a_generation(spec: MuleSpec | None = None) -> Generation:
    life = MuleLife(RestartPolicy(), LifeTimeouts())
    return Generation(1, spec or a_spec(), life)


def test_a_mule_without_a_program_is_for_signals() -> None:
    spec = replace(a_spec(2), program=None, name="signal")

    assert spec.mode == "signal-only"
    assert spec.title == "pymule: mule 2 signal [signal-only]"


def test_a_mule_with_a_program_shows_it_in_its_title() -> None:
    spec = replace(a_spec(3), program="pkg.mod:run", name="busy")

    assert spec.mode == "programmed"
    assert spec.title == "pymule: mule 3 busy [pkg.mod:run]"


def test_a_mule_is_told_what_it_is() -> None:
    spec = replace(a_spec(3), farms=("a", "b"), app="web", credit=4)

    assert spec.welcome() == {
        "id": 3,
        "name": "stand-in 3",
        "program": "stand.in:main",
        "app": "web",
        "farms": ["a", "b"],
        "python_path": [],
        "credit": 4,
        "uwsgi": False,
        "allow_pickle": False,
        "preload": [],
    }


def test_a_message_is_held_since_the_instant_that_the_mule_noted(
    board: Scoreboard,
) -> None:
    board.take(board.open_slot(0), lane_word(0, 5))

    (since,) = process_with(board).held_since(time.monotonic())

    assert since == pytest.approx(time.monotonic(), abs=1)


def test_a_message_without_an_instant_is_held_since_it_was_first_seen(
    board: Scoreboard,
) -> None:
    process = process_with(board)
    slot = board.open_slot(0)
    board.words[slot] = lane_word(0, 5)
    process.held_since(100.0)

    assert process.held_since(101.0) == [100.0]
    board.words[slot] = lane_word(0, 6)
    assert process.held_since(102.0) == [102.0]


def test_nothing_is_held_by_a_mule_that_has_nothing_in_hand(board: Scoreboard) -> None:
    slot = board.open_slot(0)
    board.take(slot, lane_word(0, 5))
    board.close_slot(0, slot)

    assert process_with(board).held_since(1.0) == []


async def test_the_next_generation_counts_on_from_where_the_last_one_ended() -> None:
    old, new = a_generation(), a_generation()
    old.handled, new.handled = 40, 2

    new.inherit(old)

    assert new.handled == 42


@pytest.mark.parametrize("is_up", [True, False], ids=["up", "failed"])
async def test_only_the_first_start_is_told(*, is_up: bool) -> None:
    generation = a_generation()

    generation.note_started(is_up=is_up)
    generation.note_started(is_up=not is_up)

    assert await generation.started is is_up


async def test_the_end_is_told_once_and_to_those_who_wait_for_the_start() -> None:
    generation = a_generation()

    generation.note_ended()
    generation.note_ended()

    async with asyncio.timeout(1):
        assert not await generation.started
        await generation.ended


async def test_the_uptime_is_that_of_the_process(board: Scoreboard) -> None:
    generation = a_generation()
    before = generation.uptime_s()

    generation.current = process_with(board, time.monotonic() - 10)

    assert before == 0.0
    assert generation.uptime_s() == pytest.approx(10, abs=2)
