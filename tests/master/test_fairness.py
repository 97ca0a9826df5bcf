"""Guests that take more of a master than others leave them."""

import asyncio
import os
import socket
import time
from dataclasses import replace

import pytest

from pymule.errors import DrainingError
from pymule.master import listener
from pymule.master.plan import Patience
from pymule.sansio.batch import pack_bodies
from pymule.sansio.frame import Opcode, encode_frame
from pymule.sansio.verbs import Call, Listen, Reply, Submit
from tests.conftest import MS, wait_until
from tests.master.conftest import Logged
from tests.master.harness import LONG, Yard, a_plan, a_queue, reason_of


async def test_a_flood_of_tiny_frames_is_heard_a_little_at_a_time(yard: Yard) -> None:
    await yard.open(a_plan())
    flood, other = await yard.greeted("flood"), await yard.greeted("other")
    turns = yard.master.clients.turns

    await flood.say_bytes(Listen(is_listening=False).pack() * 5000)
    await flood.call("ping")

    assert yard.master.clients.turns - turns > 5000 // 256
    assert (await other.call("ping")).kind == 0


async def test_who_asks_again_and_again_beside_others_has_a_rest(yard: Yard) -> None:
    master = await yard.open(a_plan())
    curious, other = await yard.greeted("curious"), await yard.greeted("other")
    master.clients.turns += 10

    for _ in range(3):
        await curious.call("status")
    await other.submit(0, b"x")
    await other.confirmed(1)

    # In these tests everybody is of one process.
    assert master.connections._fairness._pace._records[os.getpid()].free_at > 0


async def test_who_has_too_much_in_transit_is_not_read_until_there_is_room(
    yard: Yard,
) -> None:
    queues = {"mule": a_queue(1, refuses=False)}
    plan = replace(a_plan(queues=queues), transit_bytes=100_000)
    master = await yard.open(plan)
    heavy, light = await yard.greeted("heavy"), await yard.greeted("light")

    await heavy.submit(0, *[bytes(1000)] * 60)
    await wait_until(lambda: master.connections._fairness._held, within=LONG)
    await light.submit(0, b"")
    await heavy.say(Call(1, {"method": "ping"}))
    answered = await light.call("ping")
    heard = [verb for verb in heavy.heard if isinstance(verb, Reply)]
    master.router.refuse_waiting(DrainingError())
    master._pump()

    assert answered.kind == 0
    assert heard == []
    assert (await heavy.hear(Reply)).kind == 0
    assert not master.connections._fairness._held


async def test_who_is_not_read_and_leaves_is_seen_to_leave(yard: Yard) -> None:
    queues = {"mule": a_queue(1, refuses=False)}
    plan = replace(a_plan(queues=queues), transit_bytes=100_000)
    master = await yard.open(plan)
    heavy, light = await yard.greeted("heavy"), await yard.greeted("light")
    await heavy.submit(0, *[bytes(1000)] * 60)
    await wait_until(lambda: master.connections._fairness._held, within=LONG)
    await heavy.say(Call(1, {"method": "ping"}))

    heavy.close()
    await wait_until(lambda: len(master.clients.peers) == 1, within=LONG)

    assert not master.connections._fairness._held
    assert master.clients.waiting_bytes == 0
    assert (await light.call("ping")).kind == 0


async def test_half_frames_that_find_no_room_end_their_connections(
    yard: Yard,
) -> None:
    plan = a_plan(patience=Patience(frame_s=200 * MS))
    await yard.open(replace(plan, transit_bytes=20_000))
    guest = await yard.greeted("heavy")

    await guest.say_bytes(encode_frame(Opcode.SUBMIT, bytes(50_000))[:40_000])

    assert "no memory for what is in transit" in reason_of(await guest.ended())
    await wait_until(lambda: not yard.master.clients.peers, within=LONG)
    assert yard.master.connections._fairness._crowd.total == 0


async def test_a_frame_that_is_not_read_is_not_late(yard: Yard) -> None:
    master = await yard.open(a_plan(patience=Patience(frame_s=50 * MS)))
    guest, other = await yard.greeted("held"), await yard.greeted("other")
    call = Call(1, {"method": "ping"}).pack()
    (peer, _) = master.clients.peers.values()
    connection = peer.connection
    assert connection is not None
    await guest.say_bytes(call[:5])
    await wait_until(lambda: ("frame", peer.number) in master._ticker, within=LONG)

    connection.hold("test")
    master.connections.due("frame", peer.number)
    await guest.say_bytes(call[5:])
    connection.release("test")

    assert (await guest.hear(Reply)).kind == 0
    assert (await other.call("ping")).kind == 0


async def test_who_makes_too_much_work_may_not_connect_once_more(yard: Yard) -> None:
    master = await yard.open(a_plan())
    first, second = await yard.greeted("first"), yard.guest()
    master.connections._fairness._pace._records[os.getpid()].free_at = (
        time.monotonic() + LONG
    )

    await second.connect()

    reason = reason_of(await second.ended())
    assert f"process {os.getpid()} makes too much work" in reason
    assert (await first.call("ping")).kind == 0


async def test_of_many_that_may_not_connect_some_are_told_why(
    yard: Yard, logged: Logged
) -> None:
    master = await yard.open(a_plan())
    first = await yard.greeted("first")
    master.connections._fairness._pace._records[os.getpid()].free_at = (
        time.monotonic() + LONG
    )
    guests = [yard.guest() for _ in range(200)]

    for guest in guests:
        await guest.connect()
    told = [guest for guest in guests if await guest.ended()]

    assert 1 <= len(told) < 150
    assert (await first.call("ping")).kind == 0
    await wait_until(
        lambda: sum(int(str(f["count"])) for f in logged("clients refused")) == 200,
        within=LONG,
    )


async def test_a_newcomer_that_is_kept_waiting_leaves_nothing_behind(
    yard: Yard,
) -> None:
    master = await yard.open(a_plan())
    await yard.greeted("first")
    record = master.connections._fairness._pace._records[os.getpid()]
    record.free_at = time.monotonic() + 0.9
    record.company_until = time.monotonic() + LONG
    waiting = yard.guest()
    await waiting.connect()
    await wait_until(lambda: len(master.clients.peers) == 2, within=LONG)

    await yard.stop()

    assert await waiting.ended() == []


@pytest.mark.parametrize("has_company", [False, True])
async def test_a_flood_of_messages_rests_where_other_clients_have_work(
    yard: Yard, *, has_company: bool
) -> None:
    master = await yard.open(a_plan())
    guest = await yard.greeted("flood")
    fairness = master.connections._fairness
    batch = pack_bodies([b""])

    for first in (1, 1000):
        numbers = range(first, first + 300)
        await guest.say(*(Submit(n, 1, 1, "mule", b"", batch) for n in numbers))
        await guest.confirmed(300)
        # As if another client or, else, a mule had had its turn.
        fairness._client_turns += 10 * has_company
        master.clients.turns += 10

    record = fairness._floods._records[os.getpid()]
    assert (record.free_at > 0) == has_company
    assert master.router.queues["mule"].count == 600


async def test_a_process_with_many_connections_is_heard_as_one_that_has_one(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    true_credentials = listener.peer_credentials
    pids = [1, *[2] * 40]

    def credentials(sock: socket.socket) -> listener.Credentials:
        return replace(true_credentials(sock), pid=pids.pop(0))

    monkeypatch.setattr(listener, "peer_credentials", credentials)
    master = await yard.open(a_plan())
    question = Call(1, {"method": "is_locked", "name": "a"})
    alone = await yard.greeted("alone")
    crowd = [await yard.greeted(f"one of many {number}") for number in range(40)]

    async def talk() -> None:
        while True:
            for guest in crowd:
                await guest.say(question)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        talking = tasks.create_task(talk())
        before = master.connections._fairness._client_turns
        for _ in range(50):
            await alone.say(question)
            await alone.hear(Reply)
        heard = master.connections._fairness._client_turns - before
        talking.cancel()

    # If each was heard in each turn of the loop, it would be some 4,000 times.
    assert heard < 1_000


async def test_who_was_waited_for_in_vain_has_made_no_work(yard: Yard) -> None:
    await yard.open(a_plan(patience=Patience(frame_s=200 * MS)))
    slow, other = await yard.greeted("slow"), await yard.greeted("other")
    await slow.call("ping")
    await other.call("ping")
    await slow.say_bytes(Call(1, {"method": "ping"}).pack()[:-1])
    for _ in range(3):
        await other.call("ping")

    assert "the rest of a frame" in reason_of(await slow.ended())

    fairness = yard.master.connections._fairness
    # Of the wait it would be a multiple.
    assert fairness.rest_of(os.getpid()) < 200 * MS
