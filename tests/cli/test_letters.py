from collections.abc import Iterator
from pathlib import Path

import pytest

from pymule.cli.letters import (
    Filter,
    all_letters,
    ids_of,
    letter_of,
    peeked,
    purge_letters,
    replay_letters,
    waiting_in,
)
from pymule.client.aio import Client
from pymule.errors import (
    BadCallError,
    QueueFullError,
    RemoteProtocolError,
    UnknownTargetError,
)
from pymule.sansio.delivery import DeadReason
from pymule.sansio.excerpt import excerpt_bytes
from pymule.sansio.queue import Limits
from pymule.sansio.verbs import Call, JsonObject
from tests.client.fake_master import Peer
from tests.master.queue_desk import DeskMaster, QueueDesk

# Longer than an answer, and six times as long in JSON.
LONG: bytes = b"\0" * 300_000


@pytest.fixture
def desk() -> QueueDesk:
    return QueueDesk("mule", "farm:busy", limits=Limits(max_messages=3_000))


@pytest.fixture
def master(desk: QueueDesk, socket_dir: Path) -> Iterator[DeskMaster]:
    with DeskMaster(socket_dir / "s", desk) as master:
        yield master


async def listed(
    client: Client, wanted: Filter, *, is_full: bool = False
) -> list[JsonObject]:
    return [row async for row in all_letters(client, wanted, is_full=is_full)]


async def test_a_look_goes_through_pages_to_its_limit(
    master: DeskMaster, desk: QueueDesk
) -> None:
    ids = desk.submit("mule", *[b"x" * 300] * 1_200)
    async with Client(master.path) as client:
        found = await peeked(client, "mule", 1_100, is_full=False)
        everything = await peeked(client, "mule", 9_999, is_full=False)

    assert [row["id"] for row in found] == ids[:1_100]
    assert [row["id"] for row in everything] == ids
    assert found[0]["body"] == "x" * 200


async def test_whole_bodies_are_put_together_from_parts(
    master: DeskMaster, desk: QueueDesk
) -> None:
    bodies = [b"short", LONG, b"last"]
    desk.submit("mule", *bodies)
    dead = desk.bury("farm:busy", *bodies)
    async with Client(master.path) as client:
        found = await peeked(client, "mule", 10, is_full=True)
        letter = await letter_of(client, dead[1])
        letters = await listed(client, Filter(), is_full=True)

    assert [excerpt_bytes(row) for row in found] == bodies
    assert not any(row["truncated"] for row in found)
    assert excerpt_bytes(letter) == LONG
    assert [excerpt_bytes(row) for row in letters] == bodies


async def test_a_message_that_moves_on_stays_cut(
    master: DeskMaster, desk: QueueDesk
) -> None:
    desk.submit("mule", LONG)
    asked = master.on_call

    def take_it(peer: Peer, call: Call) -> None:
        asked(peer, call)
        desk.lease("mule")

    master.on_call = take_it
    async with Client(master.path) as client:
        (row,) = await peeked(client, "mule", 10, is_full=True)

    assert row["truncated"]
    assert 0 < len(excerpt_bytes(row)) < len(LONG)


async def test_an_answer_without_the_rest_of_a_body_is_the_masters_fault(
    master: DeskMaster, desk: QueueDesk
) -> None:
    desk.queues._methods["dead_show"] = lambda _call, _who: {
        "id": 1,
        "body": "",
        "truncated": True,
    }
    async with Client(master.path) as client:
        with pytest.raises(RemoteProtocolError, match="no more of a body"):
            await letter_of(client, 1)


async def test_a_list_goes_through_pages_to_its_limit(
    master: DeskMaster, desk: QueueDesk
) -> None:
    ids = desk.bury("farm:busy", *[b"x"] * 1_100)
    more = desk.bury("mule", b"y")
    async with Client(master.path) as client:
        assert await ids_of(client, Filter()) == ids + more
        assert await ids_of(client, Filter(limit=1_050)) == ids[:1_050]
        assert await ids_of(client, Filter(queue="mule")) == more


async def test_what_is_wanted_is_asked_of_the_master(
    master: DeskMaster, desk: QueueDesk
) -> None:
    (old,) = desk.bury("mule", b"x", ago=100)
    (killed,) = desk.bury("mule", b"x", reason=DeadReason.CRASHES)
    async with Client(master.path) as client:
        assert await ids_of(client, Filter(older_than_s=50)) == [old]
        assert await ids_of(client, Filter(newer_than_s=50)) == [killed]
        assert await ids_of(client, Filter(reason="crashes")) == [killed]
        with pytest.raises(BadCallError, match="no dead letter 99"):
            await letter_of(client, 99)


async def test_a_replay_of_many_ends_with_the_first_refusal(
    master: DeskMaster, desk: QueueDesk
) -> None:
    ids = desk.bury("mule", *[b"x"] * 2_500)
    desk.submit("farm:busy", *[b"x"] * 1_900)
    async with Client(master.path) as client:
        outcome = await replay_letters(client, ids, "farm:busy")

    assert outcome.done == ids[:1_100]
    assert isinstance(outcome.error, QueueFullError)
    assert len(master.calls) == 2


async def test_a_purge_of_many_tells_which_were_not_there(
    master: DeskMaster, desk: QueueDesk
) -> None:
    ids = desk.bury("mule", *[b"x"] * 1_100)
    async with Client(master.path) as client:
        outcome = await purge_letters(client, [*ids, 9_999])

    assert (outcome.done, outcome.unknown, outcome.error) == (ids, [9_999], None)
    assert not len(desk.router.queues["mule"].dead)


async def test_what_waits_in_a_queue_is_what_no_mule_has(
    master: DeskMaster, desk: QueueDesk
) -> None:
    desk.submit("farm:busy", b"out")
    desk.lease("farm:busy")
    desk.submit("farm:busy", b"1", b"2")
    desk.submit("farm:busy", b"late", delay=60)
    async with Client(master.path) as client:
        assert await waiting_in(client, "farm_busy") == 3
        with pytest.raises(UnknownTargetError, match="there are: mule, farm:busy"):
            await waiting_in(client, "no such")


async def test_what_makes_no_sense_in_an_answer_is_left_out(
    master: DeskMaster, desk: QueueDesk
) -> None:
    desk.queues._methods["dead_purge"] = lambda _call, _who: {"done": 7}
    desk.queues._methods["peek"] = lambda _call, _who: {"messages": 7, "next_skip": 1}
    async with Client(master.path) as client:
        assert (await purge_letters(client, [1])).done == []
        assert await peeked(client, "mule", 5, is_full=False) == []
