"""Guests that say what they want, at the socket of a real master."""

import os

import pytest

from pymule.errors import (
    DrainingError,
    QueueFullError,
    UnknownTargetError,
)
from pymule.master import clients
from pymule.master.clients import Clients
from pymule.sansio.batch import pack_bodies
from pymule.sansio.router import Router
from pymule.sansio.session import PROTOCOL_VERSIONS
from pymule.sansio.verbs import (
    Close,
    Hello,
    Refuse,
    Submit,
)
from tests.conftest import wait_until
from tests.master.conftest import Logged
from tests.master.harness import LONG, Yard, a_plan, a_queue, a_spec, reason_of


async def until_left(yard: Yard) -> None:
    await wait_until(lambda: not yard.master.clients.peers, within=LONG)


# Hello


async def test_a_guest_is_told_the_limits(yard: Yard) -> None:
    await yard.open(a_plan())

    welcome = (await yard.guest().greet()).value

    assert welcome["protocol"] == PROTOCOL_VERSIONS[1]
    assert welcome["max_frame_bytes"] == 65_536
    assert {"epoch", "pid", "version", "window_count", "window_bytes"} < set(welcome)


@pytest.mark.parametrize(
    ("hello", "reason"),
    [
        ({"protocol": [7, 9], "client": "a"}, "[7, 9]"),
        ({"protocol": "one", "client": "a"}, "'one'"),
        ({"protocol": list(PROTOCOL_VERSIONS)}, "client id None"),
        ({"protocol": list(PROTOCOL_VERSIONS), "client": ""}, "client id ''"),
        ({"protocol": list(PROTOCOL_VERSIONS), "client": "x" * 65}, "1 to 64"),
    ],
    ids=["version", "no versions", "no id", "empty id", "long id"],
)
async def test_a_hello_that_will_not_do_is_answered_with_the_reason(
    yard: Yard, logged: Logged, hello: dict[str, object], reason: str
) -> None:
    await yard.open(a_plan())
    guest = yard.guest()
    await guest.connect()

    await guest.say(Hello(hello))

    assert reason in reason_of(await guest.ended())
    await until_left(yard)
    assert len(logged("client broke the protocol")) == 1


# Submits


async def test_messages_are_confirmed_with_their_ids(yard: Yard) -> None:
    await yard.open(a_plan())
    guest = await yard.greeted()

    await guest.submit(0, b"a", b"b")
    await guest.submit(2, b"c")

    ranges = await guest.confirmed(3)
    assert sum(count for _, count, _ in ranges) == 3
    assert (ranges[0][0], ranges[0][2]) == (0, 1)
    assert yard.master.router.queues["mule"].count == 3


async def test_confirms_of_one_turn_are_one_range_where_ids_follow(yard: Yard) -> None:
    await yard.open(a_plan())
    guest = await yard.greeted()
    payload = pack_bodies([b"x"])
    submits = [
        Submit(n, 0, 1, target, b"", payload)
        for n, target in enumerate(["mule", "mule", "mule", "mule"])
    ]

    await guest.say(*submits)

    assert await guest.confirmed(4) == [(0, 4, 1)]


async def test_an_unknown_target_is_refused_with_those_that_exist(yard: Yard) -> None:
    await yard.open(a_plan())
    guest = await yard.greeted()

    await guest.submit(0, b"a", b"b", target="farm:lazy")

    refuse = await guest.hear(Refuse)
    assert (refuse.sequence, refuse.count) == (0, 2)
    assert refuse.code == UnknownTargetError.code
    assert refuse.detail == {"target": "farm:lazy", "known": ["mule"]}


@pytest.mark.parametrize("target", ["mules", "nonsense", "worker"])
async def test_a_target_that_takes_no_messages_ends_the_connection(
    yard: Yard, target: str
) -> None:
    await yard.open(a_plan())
    guest = await yard.greeted()

    await guest.submit(0, b"a", target=target)

    verbs = await guest.ended()
    assert isinstance(verbs[-1], Close | Refuse)
    assert yard.master.router.queues["mule"].count == 0


async def test_options_that_make_no_sense_end_the_connection(yard: Yard) -> None:
    await yard.open(a_plan())
    guest = await yard.greeted()

    await guest.submit(0, b"a", options=b'{"priority": 10}')

    assert "priority 10; allowed" in reason_of(await guest.ended())
    assert yard.master.router.queues["mule"].count == 0


async def test_a_batch_that_lies_about_itself_ends_the_connection(yard: Yard) -> None:
    await yard.open(a_plan())
    guest = await yard.greeted()

    await guest.say(Submit(0, 0, 3, "mule", b"", pack_bodies([b"x"])))

    assert reason_of(await guest.ended())
    assert yard.master.router.queues["mule"].count == 0


async def test_answers_come_in_the_order_of_the_submits(yard: Yard) -> None:
    await yard.open(a_plan())
    guest = await yard.greeted()
    payload = pack_bodies([b"x"])

    await guest.say(
        Submit(0, 0, 1, "mule", b"", payload),
        Submit(1, 0, 1, "farm:lazy", b"", payload),
        Submit(2, 0, 1, "mule", b"", payload),
    )
    await guest.confirmed(1)
    await guest.hear(Refuse)

    assert await guest.confirmed(1) == [(2, 1, 2)]


async def test_a_full_queue_refuses_where_it_is_configured_to(yard: Yard) -> None:
    await yard.open(a_plan(queues={"mule": a_queue(2, refuses=True)}))
    guest = await yard.greeted()

    await guest.submit(0, b"a", b"b", b"c")

    assert await guest.confirmed(2) == [(0, 2, 1)]
    refuse = await guest.hear(Refuse)
    assert (refuse.sequence, refuse.count) == (2, 1)
    assert refuse.code == QueueFullError.code


async def test_a_full_queue_makes_its_senders_wait_and_nobody_else(yard: Yard) -> None:
    queues = {"mule": a_queue(1), "farm:other": a_queue()}
    await yard.open(a_plan(queues=queues))
    guest = await yard.greeted()

    await guest.submit(0, b"a", b"b")
    await guest.submit(2, b"c", target="farm:other")

    first = await guest.confirmed(2)
    assert sorted(sequence for sequence, _, _ in first) == [0, 2]
    assert yard.master.router.queues["mule"].waiting


async def test_who_overfills_its_window_breaks_a_rule(yard: Yard) -> None:
    await yard.open(a_plan(queues={"mule": a_queue(1)}))
    guest, other = await yard.greeted("greedy"), await yard.greeted("modest")
    batch = [b""] * 10_000

    for number in range(4):
        await guest.submit(number * len(batch), *batch)

    reason = reason_of(await guest.ended())
    assert "29999 messages for 'mule'" in reason
    assert "window_count is 16384" in reason
    assert not yard.master.router.queues["mule"].waiting
    await other.submit(0, b"x")
    await wait_until(lambda: yard.master.router.queues["mule"].waiting, within=LONG)


async def test_what_has_no_answer_is_not_taken_twice(yard: Yard) -> None:
    await yard.open(a_plan(queues={"mule": a_queue(1)}))
    guest = await yard.greeted()
    await guest.submit(0, b"a", b"b")

    await guest.submit(1, b"b")

    assert "sequence 1 while" in reason_of(await guest.ended())


async def test_a_master_that_drains_refuses(yard: Yard) -> None:
    program = "be_ready(); ask(); hear(Deliver); hear(Drain); rest()"
    master = await yard.open_ready(a_plan(a_spec(1, program)))
    guest = await yard.greeted()
    await guest.submit(0, b"held")
    await guest.confirmed(1)
    (link,) = master.router.links.values()
    await wait_until(lambda: link.leased)

    master.stop()
    await wait_until(lambda: master.clients.is_draining)
    await guest.submit(1, b"late")

    assert (await guest.hear(Refuse)).code == DrainingError.code


# Coming again


async def test_what_was_accepted_is_not_accepted_again_after_a_reconnect(
    yard: Yard,
) -> None:
    await yard.open(a_plan())
    guest = await yard.greeted("me")
    await guest.submit(0, b"a", b"b")
    await guest.confirmed(2)
    guest.close()
    await until_left(yard)

    again = await yard.greeted("me")
    await again.submit(0, b"a", b"b", b"c")

    assert await again.confirmed(3) == [(0, 3, 1)]
    assert yard.master.router.queues["mule"].count == 3


async def test_what_was_accepted_is_not_refused_by_a_master_that_drains(
    yard: Yard,
) -> None:
    program = "be_ready(); ask(); hear(Deliver); hear(Drain); rest()"
    master = await yard.open_ready(a_plan(a_spec(1, program)))
    guest = await yard.greeted("me")
    await guest.submit(0, b"held", b"queued")
    await guest.confirmed(2)
    guest.close()
    await wait_until(lambda: not master.clients.peers, within=LONG)
    master.stop()
    await wait_until(lambda: master.clients.is_draining)

    again = await yard.greeted("me")
    await again.submit(0, b"held", b"queued", b"late")

    assert await again.confirmed(2) == [(0, 2, 1)]
    refuse = await again.hear(Refuse)
    assert (refuse.code, refuse.sequence, refuse.count) == (DrainingError.code, 2, 1)


async def test_the_floor_lets_the_master_forget(yard: Yard) -> None:
    await yard.open(a_plan())
    guest = await yard.greeted("me")
    await guest.submit(0, b"a")
    await guest.confirmed(1)

    await guest.say(Submit(1, 1, 1, "mule", b"", pack_bodies([b"b"])))
    await guest.confirmed(1)

    (peer,) = yard.master.clients.peers.values()
    assert len(peer.sender.log) == 1


async def test_a_client_that_comes_twice_takes_over_from_itself(yard: Yard) -> None:
    await yard.open(a_plan())
    old = await yard.greeted("me")
    await old.submit(0, b"a")
    await old.confirmed(1)

    new = await yard.greeted("me")
    await new.submit(0, b"a")

    assert await new.confirmed(1) == [(0, 1, 1)]
    assert "connected again" in reason_of(await old.ended())
    assert yard.master.router.queues["mule"].count == 1


async def test_what_waited_for_room_goes_with_its_sender(yard: Yard) -> None:
    await yard.open(a_plan(queues={"mule": a_queue(1)}))
    guest = await yard.greeted("me")
    await guest.submit(0, b"a", b"b")
    await guest.confirmed(1)

    guest.close()
    await until_left(yard)

    queue = yard.master.router.queues["mule"]
    assert (queue.count, len(queue.waiting)) == (1, 0)


async def test_only_so_many_of_those_away_are_remembered(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "_REMEMBERED_CLIENTS", 2)
    await yard.open(a_plan())

    for name in ("a", "b", "c"):
        guest = await yard.greeted(name)
        await guest.submit(0, b"x")
        await guest.confirmed(1)
        guest.close()
        await until_left(yard)

    uid = os.getuid()
    assert list(yard.master.clients._away) == [f"{uid} b", f"{uid} c"]


async def test_only_so_many_batches_of_those_away_are_remembered(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "_REMEMBERED_BATCHES", 3)
    await yard.open(a_plan())

    for name in ("a", "b"):
        guest = await yard.greeted(name)
        await guest.submit(0, b"x")
        await guest.submit(1, b"x")
        await guest.confirmed(2)
        guest.close()
        await until_left(yard)
    await yard.greeted("b")

    assert not yard.master.clients._away
    assert yard.master.clients._away_batches == 0


async def test_those_away_for_long_are_forgotten(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "_REMEMBERED_S", 0.0)
    await yard.open(a_plan())

    for name in ("a", "b"):
        guest = await yard.greeted(name)
        await guest.submit(0, b"x")
        await guest.confirmed(1)
        guest.close()
        await until_left(yard)

    assert list(yard.master.clients._away) == [f"{os.getuid()} b"]


async def test_who_sent_nothing_is_not_remembered(yard: Yard) -> None:
    await yard.open(a_plan())
    guest = await yard.greeted("me")

    guest.close()
    await until_left(yard)

    assert not yard.master.clients._away


def test_an_answer_for_somebody_who_left_is_dropped() -> None:

    nobody = Clients(Router(), dict)

    nobody.answer((7, 0, 1, 1))
    nobody.flush_all()

    assert list(nobody.describe()) == []
