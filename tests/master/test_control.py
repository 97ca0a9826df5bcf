"""What the master answers to calls, in full."""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from pymule.errors import UnsupportedError
from pymule.master import control
from pymule.master.control import STATUS_SCHEMA
from pymule.master.logs import LogSink, TextFormatter
from pymule.sansio.verbs import Call, JsonObject, Reply, ReplyKind
from pymule.version import VERSION
from tests.conftest import wait_until
from tests.master.conftest import Logged
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


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[LogSink]:
    with (tmp_path / "log").open("w") as stream:
        sink = LogSink(stream, TextFormatter())
        yield sink
        sink.close()


@pytest.fixture
async def reader(yard: Yard, sink: LogSink) -> Guest:
    """A guest of a master that keeps a log."""
    await yard.open(a_plan(), sink=sink)
    return await yard.greeted("reader")


def note(sink: LogSink, text: str) -> None:
    """Have *sink* publish a record."""
    sink._publish(text)


async def test_a_ping_is_answered_with_the_pid(yard: Yard) -> None:
    await yard.open(a_plan())
    guest = await yard.greeted()

    reply = await guest.call("ping")

    assert (reply.id, reply.kind, reply.value) == (
        1,
        ReplyKind.LAST,
        {"pid": os.getpid()},
    )


@pytest.mark.parametrize("method", ["top", "", "None"])
async def test_an_unknown_call_is_refused_by_its_name(yard: Yard, method: str) -> None:
    await yard.open(a_plan())
    guest = await yard.greeted()

    reply = await guest.call(method)

    assert (reply.kind, reply.value["code"]) == (ReplyKind.ERROR, UnsupportedError.code)
    assert repr(method) in str(reply.value["detail"])


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


@pytest.mark.parametrize("now", [False, True], ids=["drain", "now"])
async def test_a_stop_is_answered_and_follows(
    yard: Yard, logged: Logged, *, now: bool
) -> None:
    await yard.open_ready(a_plan(a_spec()))
    guest = await yard.greeted()

    reply = await guest.call("stop", now=now)

    assert reply.value == {"pid": os.getpid()}
    assert await yard.ended() is not now
    assert logged("stop asked") == [
        {"pid": os.getpid(), "uid": os.getuid(), "now": now}
    ]


async def test_a_reload_is_answered_when_it_is_done(yard: Yard) -> None:
    await yard.open_ready(a_plan(a_spec()))
    guest = await yard.greeted()
    pid = yard.pid()

    refused = await guest.call("reload")
    yard.next_plan = yard.master.plan
    done = await guest.call("reload")

    assert refused.value == {"ok": False, "error": "nothing new"}
    assert done.value == {"ok": True, "error": None}
    assert yard.pid() != pid


async def test_who_asked_for_a_reload_and_left_is_not_told(
    yard: Yard, logged: Logged
) -> None:
    await yard.open_ready(a_plan(a_spec()))
    guest = await yard.greeted()
    yard.next_plan = yard.master.plan

    await guest.say(Call(2, {"method": "reload"}))
    guest.close()
    await wait_until(lambda: logged("reloaded"), within=LONG)

    assert yard.states() == {1: "up"}


# The log


async def test_the_last_lines_of_the_log_are_given(
    reader: Guest, sink: LogSink
) -> None:
    for n in range(5):
        note(sink, f"line {n}")

    reply = await reader.call("logs", lines=2)

    assert (reply.kind, reply.value) == (
        ReplyKind.LAST,
        {"lines": ["line 3", "line 4"]},
    )


@pytest.mark.parametrize("lines", [0, -1, "x", None], ids=repr)
async def test_no_lines_are_given_to_who_asks_for_none(
    reader: Guest, sink: LogSink, lines: object
) -> None:
    note(sink, "line")

    assert (await reader.call("logs", lines=lines)).value == {"lines": []}


async def test_a_master_without_a_log_has_no_lines(yard: Yard) -> None:
    await yard.open(a_plan())
    guest = await yard.greeted()

    reply = await guest.call("logs", lines=10, follow=True)

    assert (reply.kind, reply.value) == (ReplyKind.LAST, {"lines": []})


async def test_who_follows_the_log_gets_each_line(reader: Guest, sink: LogSink) -> None:
    first = await reader.call("logs", follow=True)

    note(sink, "one")
    note(sink, "two")

    assert (first.kind, first.value) == (ReplyKind.MORE, {"lines": []})
    replies = [await reader.hear(Reply) for _ in range(2)]
    assert [reply.value for reply in replies] == [
        {"lines": ["one"], "dropped": 0},
        {"lines": ["two"], "dropped": 0},
    ]
    assert {reply.kind for reply in replies} == {ReplyKind.MORE}


async def test_who_follows_twice_gets_each_line_once(
    reader: Guest, sink: LogSink
) -> None:
    await reader.call("logs", follow=True)
    await reader.call("logs", follow=True)

    note(sink, "one")

    await reader.hear(Reply)
    await reader.call("ping")
    assert reader.heard == []


async def test_who_does_not_read_loses_lines_and_is_told_how_many(
    reader: Guest,
    sink: LogSink,
    yard: Yard,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(control, "_FOLLOWER_BYTES", 100)
    await reader.call("logs", follow=True)

    # In one turn, so that nothing leaves in between.
    for n in range(5):
        note(sink, f"{n}" * 200)
    assert len((await reader.hear(Reply)).value) == 2
    note(sink, "after")

    value = (await reader.hear(Reply)).value
    assert value == {"lines": ["after"], "dropped": 4}
    assert yard.master.clients.peers


async def test_who_follows_and_leaves_is_forgotten(
    reader: Guest, sink: LogSink, yard: Yard
) -> None:
    await reader.call("logs", follow=True)
    followers = len(sink._subscribers)

    reader.close()
    await wait_until(lambda: not yard.master.clients.peers, within=LONG)

    assert (followers, len(sink._subscribers)) == (1, 0)


def test_a_process_that_is_gone_has_no_memory() -> None:
    assert control._rss_bytes(2**22 + 1) == 0
    assert control._rss_bytes(os.getpid()) > sys.getsizeof("")
