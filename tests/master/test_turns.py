import os

import pytest

from pymule.master import mules
from pymule.master.turns import Turns
from pymule.sansio.target import MuleId
from tests.conftest import MS
from tests.master.harness import LONG, Yard, a_plan, a_spec, until

WORDLESS = "rest()"
WORDY = "be_ready(); rest()"


@pytest.fixture(autouse=True)
def _one_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0})


async def test_a_few_mules_start_at_a_time_and_the_others_wait(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mules, "_FRESH_START_S", 10 * LONG)
    specs = [a_spec(number, WORDLESS) for number in range(1, 7)]
    master = await yard.open(a_plan(*specs))

    assert list(yard.states().values()) == ["starting"] * 4 + ["waiting"] * 2
    assert master.state == "starting"
    master.mules.kill(master.mules.current[MuleId(2)])

    await until(lambda: yard.states()[2] == "down")
    assert yard.states()[5] == "starting"
    assert yard.states()[6] == "waiting"


async def test_a_start_that_takes_long_holds_up_nobody(yard: Yard) -> None:
    specs = [a_spec(number, WORDLESS) for number in range(1, 5)]
    await yard.open(a_plan(*specs, a_spec(5)))
    assert yard.states()[5] == "waiting"

    await until(lambda: yard.states()[5] == "up")

    assert set(yard.states().values()) == {"starting", "up"}


async def test_a_mule_that_waits_can_be_stopped(yard: Yard) -> None:
    specs = [a_spec(number, WORDLESS) for number in range(1, 6)]
    master = await yard.open(a_plan(*specs))
    last = master.mules.current[MuleId(5)]

    master.mules.stop(last)

    assert last.ended.done()
    assert yard.states()[5] == "down"


async def test_those_that_died_together_start_again_a_few_at_a_time(
    yard: Yard,
) -> None:
    specs = [a_spec(number) for number in range(1, 7)]
    master = await yard.open_ready(a_plan(*specs))
    starts: Turns = master.mules._starts
    pids = [yard.pid(number) for number in range(1, 7)]

    for pid in pids:
        assert pid is not None
        os.kill(pid, 9)

    await until(lambda: not set(pids) & {yard.pid(n) for n in range(1, 7)})
    await until(lambda: set(yard.states().values()) == {"up"})
    assert not len(starts)


async def test_those_with_nothing_in_hand_end_a_few_at_a_time(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mules, "_FRESH_END_S", 1000 * MS)
    # They stay, whatever they are told.
    program = """
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    be_ready()
    while True:
        heard.clear()
        hear(Drain)
    """
    specs = [a_spec(number, program) for number in range(1, 7)]
    master = await yard.open_ready(a_plan(*specs))
    ends: Turns = master.mules._ends

    for generation in list(master.mules):
        master.mules.stop(generation)

    assert len(ends) == 2
    assert list(yard.states().values()) == ["draining"] * 6
    await until(lambda: not len(ends))
    await until(lambda: set(yard.states().values()) == {"stopping"})


async def test_one_that_waits_for_its_turn_to_end_can_be_killed(yard: Yard) -> None:
    specs = [a_spec(number) for number in range(1, 7)]
    master = await yard.open_ready(a_plan(*specs))
    generations = list(master.mules)
    for generation in generations:
        master.mules.stop(generation)

    master.mules.kill(generations[5])

    await until(lambda: set(yard.states().values()) == {"down"})
    assert generations[5].life.restarts == 0


async def test_one_that_dies_while_it_waits_for_its_turn_to_end_stays_down(
    yard: Yard,
) -> None:
    specs = [a_spec(number, WORDY) for number in range(1, 7)]
    master = await yard.open_ready(a_plan(*specs))
    pid = yard.pid(6)
    assert pid is not None
    for generation in list(master.mules):
        master.mules.stop(generation)

    os.kill(pid, 9)

    await until(lambda: set(yard.states().values()) == {"down"})
    assert all(g.life.restarts == 0 for g in master.generations())
