"""What the status says, and in which parts."""

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from pymule.errors import BadCallError
from pymule.master import status as status_module
from pymule.master.status import STATUS_SCHEMA
from pymule.sansio.verbs import JsonObject, ReplyKind
from pymule.version import VERSION
from tests.conftest import wait_until
from tests.master.harness import LONG, Guest, Yard, a_plan, a_queue, a_spec

DOC: Final = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()

HOLD: Final = """
be_ready()
ask(10)
deliver = hear(Deliver)
board = Scoreboard(mule["board"])
board.take(board.open_slot(0), lane_word(0, 0))
rest()
"""


def documented_keys(table: str) -> set[str]:
    """Return the keys of the status that the document has under *table*."""
    names = re.findall(r"^\| `([\w\[\].]+)` \|", DOC, re.MULTILINE)
    prefix = f"{table}[]." if table else ""
    return {
        name.removeprefix(prefix)
        for name in names
        if name.startswith(prefix) and "." not in name.removeprefix(prefix)
    }


def rows(status: JsonObject, key: str) -> list[JsonObject]:
    found = status[key]
    assert isinstance(found, list)
    return found


async def test_the_status_has_every_key_of_its_document(yard: Yard) -> None:
    master = await yard.open_ready(a_plan(a_spec(1, HOLD)))
    guest = await yard.greeted()
    await guest.submit(0, b"hello")
    await guest.call("lock", name="a")
    await wait_until(lambda: master.router.queues["mule"].leased, within=LONG)

    status = await yard.status()

    assert "in_hand_s" in documented_keys("mules"), "the document can be read"
    top = {key for key in documented_keys("") if key in status}
    assert top == set(status)
    for table in ("mules", "queues", "clients", "locks"):
        assert documented_keys(table) == set(rows(status, table)[0]), table


async def test_the_status_of_a_mule_says_what_it_does(yard: Yard) -> None:
    master = await yard.open_ready(a_plan(a_spec(1, HOLD)))
    guest = await yard.greeted()
    await guest.submit(0, b"hello", b"world")
    generation = master.generations()[0]
    await wait_until(lambda: (c := generation.current) and c.board.held(), within=LONG)

    (mule,) = rows(await yard.status(), "mules")

    assert mule["pid"] == yard.pid()
    assert isinstance(mule["rss_bytes"], int)
    assert mule["rss_bytes"] > 1_000_000
    assert isinstance(mule["in_hand_s"], float)
    assert 0 <= mule["in_hand_s"] < LONG
    assert (mule["in_hand"], mule["leased"], mule["handled"]) == (1, 2, 0)
    assert (mule["state"], mule["mode"], mule["restarts"]) == ("up", "programmed", 0)
    assert mule["last_exit"] is None


async def test_the_status_of_a_mule_without_a_process_is_complete(yard: Yard) -> None:
    await yard.open(a_plan(a_spec(1, "be_ready(); sys.exit(125)")))
    await wait_until(lambda: yard.states() == {1: "down"}, within=LONG)

    (mule,) = rows(await yard.status(), "mules")

    assert (mule["pid"], mule["rss_bytes"], mule["uptime_s"]) == (None, 0, 0.0)
    last_exit = mule["last_exit"]
    assert isinstance(last_exit, dict)
    assert set(last_exit) == {"reason", "error", "uptime_s", "at"}


async def test_the_status_of_a_queue_counts(yard: Yard) -> None:
    await yard.open(a_plan(queues={"mule": a_queue(2)}))
    guest = await yard.greeted()
    await guest.submit(0, b"a", b"b", b"c")
    await guest.confirmed(2)

    (queue,) = rows(await yard.status(), "queues")

    assert (queue["target"], queue["ready"], queue["waiting"]) == ("mule", 2, 1)
    assert (queue["accepted"], queue["max_messages"], queue["closed"]) == (2, 2, False)
    assert isinstance(queue["oldest_s"], float)


async def test_the_status_says_who_is_there(yard: Yard) -> None:
    await yard.open(a_plan())
    await yard.guest().greet("id", "a name")
    await yard.guest().connect()

    status = await yard.status()

    assert rows(status, "clients")[0] == {
        "name": "a name",
        "pid": os.getpid(),
        "uid": os.getuid(),
        "role": "admin",
    }
    assert len(rows(status, "clients")) == 2, "who has not said hello is nobody yet"
    assert (status["schema"], status["version"]) == (STATUS_SCHEMA, VERSION)
    assert (status["state"], status["socket"]) == ("running", str(yard.path))
    assert status["config_error"] is None


async def whole(guest: Guest, **params: object) -> list[JsonObject]:
    """Return all parts of a status."""
    parts = [(await guest.call("status", **params)).value]
    while parts[-1]["next"] is not None:
        params["after"] = parts[-1]["next"]
        parts.append((await guest.call("status", **params)).value)
    return parts


def names(parts: list[JsonObject], key: str, name: str) -> list[object]:
    return [row[name] for part in parts if key in part for row in rows(part, key)]


async def test_what_does_not_fit_in_an_answer_comes_in_the_next(yard: Yard) -> None:
    queues = {f"farm:{number}": a_queue() for number in range(200)}
    await yard.open(replace(a_plan(queues=queues), max_frame_bytes=20_000))
    guest = await yard.greeted()

    parts = await whole(guest)

    assert len(parts) > 5
    assert names(parts, "queues", "target") == ["mule", *queues]
    assert names(parts, "clients", "pid") == [os.getpid()]
    assert [part.get("pid") for part in parts[:2]] == [os.getpid(), None]
    assert all(set(part) >= {"schema", "next"} for part in parts)


async def test_a_row_that_is_larger_than_an_answer_comes_alone(yard: Yard) -> None:
    names_ = [f"farm:{'x' * 700}{number}" for number in range(3)]
    plan = a_plan(queues={name: a_queue() for name in names_})
    await yard.open(replace(plan, max_frame_bytes=2048))
    guest = await yard.greeted()

    parts = await whole(guest, sections=["queues"])

    assert names(parts, "queues", "target") == ["mule", *names_]


async def test_of_a_status_some_lists_can_be_had(yard: Yard) -> None:
    await yard.open(a_plan(a_spec()))
    guest = await yard.greeted()

    status = (await guest.call("status", sections=["queues", "mules"])).value

    assert names([status], "queues", "target") == ["mule", "mule1"]
    assert names([status], "mules", "id") == [1]
    assert "clients" not in status
    nothing = (await guest.call("status", sections=[], after=["mules", 0])).value
    assert nothing == {"schema": STATUS_SCHEMA, "next": None}


@pytest.mark.parametrize(
    "params",
    [
        {"sections": "mules"},
        {"sections": ["secrets"]},
        {"after": "mules"},
        {"after": ["secrets", 0]},
        {"after": ["mules", -1]},
        {"after": ["mules", 10**10]},
        {"after": ["mules", 0, 0]},
    ],
    ids=str,
)
async def test_a_part_that_there_is_not_is_refused(
    yard: Yard, params: dict[str, object]
) -> None:
    await yard.open(a_plan())
    guest = await yard.greeted()

    reply = await guest.call("status", **params)

    assert (reply.kind, reply.value["code"]) == (ReplyKind.ERROR, BadCallError.code)


def test_a_process_that_is_gone_has_no_memory() -> None:
    assert status_module._rss_bytes(2**22 + 1) == 0
    assert status_module._rss_bytes(os.getpid()) > 1_000_000
