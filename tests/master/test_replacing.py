import asyncio
import os

import pytest

from pymule.sansio.target import MuleId
from tests.master.conftest import Logged
from tests.master.harness import Yard, a_plan, a_spec, until

SLOW = "greet(); time.sleep(0.2); say(Ready()); rest()"


@pytest.fixture(autouse=True)
def _one_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0})


async def test_a_few_new_mules_are_on_their_way_at_a_time(yard: Yard) -> None:
    numbers = range(1, 7)
    master = await yard.open_ready(a_plan(*map(a_spec, numbers)))
    old = [yard.pid(number) for number in numbers]
    seen = 0

    reload = asyncio.create_task(
        yard.reload(a_plan(*(a_spec(number, SLOW) for number in numbers)))
    )
    while not reload.done():
        seen = max(seen, len(master.mules.arriving))
        await asyncio.sleep(0)

    assert await reload is None
    assert seen == 4
    assert not set(old) & {yard.pid(number) for number in numbers}
    await until(lambda: not master.mules.retiring)


async def test_where_one_does_not_start_it_and_those_after_it_stay(yard: Yard) -> None:
    numbers = range(1, 7)
    master = await yard.open_ready(a_plan(*map(a_spec, numbers)))
    old = {number: yard.pid(number) for number in numbers}
    specs = [a_spec(n, "sys.exit(3)" if n == 2 else SLOW) for n in numbers]

    problem = await yard.reload(a_plan(*specs))

    assert problem is not None
    assert problem.startswith("mule 2 did not start")
    assert yard.pid(1) != old[1]
    assert {n: yard.pid(n) for n in numbers if n > 1} == {
        n: pid for n, pid in old.items() if n > 1
    }
    assert not master.mules.arriving
    await until(lambda: not master.mules.retiring)
    assert master.mules.current[MuleId(2)].life.restarts == 0


async def test_a_mistake_that_all_would_make_is_made_once(
    yard: Yard, logged: Logged
) -> None:
    numbers = range(1, 4)
    await yard.open_ready(a_plan(*map(a_spec, numbers)))

    problem = await yard.reload(a_plan(*(a_spec(n, "sys.exit(3)") for n in numbers)))

    assert problem is not None
    assert problem.startswith("mule 1 did not start")
    assert [fields["mule"] for fields in logged("mule spawned")] == [1, 2, 3, 1]
