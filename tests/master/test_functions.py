"""The queues of functions, seen from the master's socket."""

from dataclasses import replace
from pathlib import Path

import pytest

from pymule.errors import BadCallError, UnknownTargetError
from pymule.sansio.queue import Queue
from pymule.sansio.verbs import JsonObject, Refuse
from tests.conftest import wait_until
from tests.master.harness import LONG, Yard, a_plan, a_queue, a_spec

# A mule that tells functions; what follows is its life.
TELLS = """
greet()
say(Call(1, {"method": "functions", "names": NAMES}))
answer = hear(Reply)
"""
HAS = TELLS.replace("NAMES", '["app:f", "app:g"]')
TAKES = """
ask(1, answer.value["targets"])
say(Ready())
deliver = hear(Deliver)
say(Ack([(deliver.first_id, 1, 1)]))
rest()
"""


async def queues_of(yard: Yard) -> dict[str, JsonObject]:
    """Return the queues of functions in the status, by target."""
    found = (await yard.status())["queues"]
    assert isinstance(found, list)
    return {q["target"]: q for q in found if q["target"].startswith("func:")}


async def test_a_call_goes_to_the_mule_that_has_the_function(yard: Yard) -> None:
    await yard.open_ready(a_plan(a_spec(1, HAS + TAKES)))
    guest = await yard.greeted()

    await guest.submit(1, b"x", target="func:app:g")

    assert len(await guest.confirmed(1)) == 1
    queue = yard.master.router.queues["func:app:g"]
    await wait_until(lambda: queue.acked == 1, within=LONG)
    assert sorted(await queues_of(yard)) == ["func:app:f", "func:app:g"]


@pytest.mark.parametrize("names", ['["app:f", "app"]', '"app:f"'])
async def test_names_that_cannot_be_are_refused(yard: Yard, names: str) -> None:
    check = f"if answer.value['code'] == {BadCallError.code}: say(Ready())\nrest()"

    await yard.open_ready(a_plan(a_spec(1, TELLS.replace("NAMES", names) + check)))

    assert await queues_of(yard) == {}


async def test_a_function_that_no_mule_has_is_refused(yard: Yard) -> None:
    await yard.open_ready(a_plan(a_spec(1)))
    guest = await yard.greeted()

    await guest.submit(1, b"x", target="func:app:f")

    assert (await guest.hear(Refuse)).code == UnknownTargetError.code


async def test_a_reload_to_mules_without_the_function_closes_its_queue(
    yard: Yard,
) -> None:
    await yard.open_ready(a_plan(a_spec(1, HAS + "say(Ready()); rest()")))
    guest = await yard.greeted()
    await guest.submit(1, b"x", target="func:app:f")
    await guest.confirmed(1)

    assert await yard.reload(a_plan(a_spec(1))) is None

    queues = await queues_of(yard)
    assert [(name, q["closed"]) for name, q in queues.items()] == [("func:app:f", True)]


async def test_a_call_waits_while_mules_are_being_started(
    yard: Yard, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    await yard.open(a_plan(a_spec(1, waiting_for(go) + HAS + TAKES)))
    guest = await yard.greeted()
    await guest.submit(1, b"x", target="func:app:f")
    await guest.submit(2, b"y", target="func:app:unknown")
    router = yard.master.router
    await wait_until(lambda: [len(q.waiting) for q in functions_of(yard)] == [1, 1])

    go.touch()

    assert await guest.confirmed(1) == [(1, 1, 1)]
    refused = await guest.hear(Refuse)
    assert (refused.sequence, refused.code) == (2, UnknownTargetError.code)
    assert "func:app:unknown" not in router.queues


async def test_a_mule_that_stays_down_keeps_no_call_waiting(
    yard: Yard, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    await yard.open(a_plan(a_spec(1, waiting_for(go) + "os._exit(125)")))
    guest = await yard.greeted()

    await guest.submit(1, b"x", target="func:app:f")
    await wait_until(lambda: [len(q.waiting) for q in functions_of(yard)] == [1])

    go.touch()

    assert (await guest.hear(Refuse)).code == UnknownTargetError.code
    assert functions_of(yard) == []


async def test_a_reload_brings_the_limits_of_the_file(yard: Yard) -> None:
    plan = a_plan(a_spec(1, HAS + "say(Ready()); rest()"))
    await yard.open_ready(plan)

    assert await yard.reload(replace(plan, function=a_queue(7))) is None

    assert [queue.limits.max_messages for queue in functions_of(yard)] == [7, 7]


def waiting_for(path: Path) -> str:
    """Return a program that waits for a file."""
    return f"while not os.path.exists({str(path)!r}):\n    time.sleep(0.002)\n"


def functions_of(yard: Yard) -> list[Queue]:
    """Return the queues of functions."""
    queues = yard.master.router.queues
    return [queue for name, queue in queues.items() if name.startswith("func:")]
