"""What the master answers to calls, in full."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pymule.errors import UnsupportedError
from pymule.master import control
from pymule.master.logs import LogSink, TextFormatter
from pymule.sansio.verbs import Call, Reply, ReplyKind
from tests.conftest import wait_until
from tests.master.conftest import Logged
from tests.master.harness import LONG, Guest, Yard, a_plan, a_spec


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
