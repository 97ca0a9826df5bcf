"""Guests that may not come in, say nothing, say it slowly or say nonsense."""

import asyncio
import contextlib
import os
import time
from dataclasses import replace
from typing import Final

import pytest

from pymule.errors import DrainingError
from pymule.master.plan import Patience
from pymule.master.roles import AccessRule, Members
from pymule.sansio.frame import Opcode, encode_frame
from pymule.sansio.session import PROTOCOL_VERSIONS
from pymule.sansio.verbs import (
    Ack,
    Call,
    Close,
    Hello,
    Listen,
    Ready,
    Reply,
    Welcome,
)
from tests.conftest import MS, wait_until
from tests.master.conftest import Logged
from tests.master.harness import LONG, Yard, a_plan, a_queue, is_root, reason_of

NOBODY: Final = 65534


# Who may


@pytest.mark.skipif(not is_root(), reason="needs to be root")
@pytest.mark.parametrize("is_named", [False, True], ids=["stranger", "named"])
async def test_only_those_users_are_let_in_that_are_named(
    yard: Yard, logged: Logged, *, is_named: bool
) -> None:
    yard.path.parent.chmod(0o755)
    users = frozenset({NOBODY} if is_named else ())
    access = AccessRule(senders=Members(users))
    await yard.open(replace(a_plan(), access=access))
    guest = yard.guest()
    hello = Hello({"protocol": list(PROTOCOL_VERSIONS), "client": "x"})

    guest.connect_as(NOBODY)
    with contextlib.suppress(ConnectionError):
        await guest.say(hello)
    is_in = is_named and bool(await guest.hear(Welcome))
    said = [] if is_in else await guest.ended()

    assert (is_in, said) == (is_named, [])
    refused = [fields["uid"] for fields in logged("connection refused")]
    assert refused == ([] if is_named else [NOBODY])


# Who breaks a rule, and who is not waited for


async def test_who_says_nothing_is_not_waited_for(yard: Yard) -> None:
    await yard.open(a_plan(patience=Patience(hello_s=50 * MS)))
    guest = yard.guest()

    await guest.connect()

    assert "no HELLO within" in reason_of(await guest.ended())


async def test_who_has_said_hello_may_be_silent(yard: Yard) -> None:
    await yard.open(a_plan(patience=Patience(hello_s=50 * MS)))
    quiet, late = await yard.greeted("quiet"), yard.guest()

    await late.connect()
    await late.ended()

    assert (await quiet.call("ping")).kind == 0


async def test_half_a_frame_is_not_waited_for(yard: Yard) -> None:
    await yard.open(a_plan(patience=Patience(frame_s=50 * MS)))
    guest = await yard.greeted()

    await guest.say_bytes(encode_frame(Opcode.CALL, b"x" * 100)[:50])

    assert "not the rest of a frame" in reason_of(await guest.ended())


async def test_garbage_is_answered_with_a_reason_and_the_end(yard: Yard) -> None:
    await yard.open(a_plan())
    guest, other = await yard.greeted("bad"), await yard.greeted("good")

    await guest.say_bytes(b"GET / HTTP/1.1\r\n\r\n" * 100)

    assert reason_of(await guest.ended())
    assert (await other.call("ping")).kind == 0


async def test_a_guest_may_not_speak_as_a_mule(yard: Yard) -> None:
    await yard.open(a_plan())
    guest = await yard.greeted()

    await guest.say_bytes(Ready().pack() + Ack([(1, 1, 1)]).pack())

    assert "READY" in reason_of(await guest.ended())


async def test_who_says_goodbye_is_let_go(yard: Yard, logged: Logged) -> None:
    await yard.open(a_plan())
    guest = await yard.greeted()

    await guest.say(Close({}))

    assert await guest.ended() == []
    await wait_until(lambda: not yard.master.clients.peers, within=LONG)
    assert logged("client broke the protocol") == []


async def test_who_does_not_read_is_left_behind(yard: Yard, logged: Logged) -> None:
    await yard.open(a_plan(patience=Patience(stall_s=100 * MS)))
    guest = await yard.greeted("lazy")

    for _ in range(40):
        call = Call(1, {"method": "x" * 20_000}).pack()
        try:
            async with asyncio.timeout(2000 * MS):
                await guest.say_bytes(call * 4)
        except (TimeoutError, ConnectionError):
            break

    await wait_until(lambda: not yard.master.clients.peers, within=LONG)
    assert "nothing read within" in str(logged("client broke the protocol"))


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
    assert master.connections._pace._records[os.getpid()].free_at > 0


async def test_who_has_too_much_in_transit_is_not_read_until_there_is_room(
    yard: Yard,
) -> None:
    queues = {"mule": a_queue(1, refuses=False)}
    plan = replace(a_plan(queues=queues), transit_bytes=100_000)
    master = await yard.open(plan)
    heavy, light = await yard.greeted("heavy"), await yard.greeted("light")

    await heavy.submit(0, *[bytes(1000)] * 60)
    await wait_until(lambda: master.connections._held, within=LONG)
    await light.submit(0, b"")
    await heavy.say(Call(1, {"method": "ping"}))
    answered = await light.call("ping")
    heard = [verb for verb in heavy.heard if isinstance(verb, Reply)]
    master.router.refuse_waiting(DrainingError())
    master._pump()

    assert answered.kind == 0
    assert heard == []
    assert (await heavy.hear(Reply)).kind == 0
    assert not master.connections._held


async def test_who_is_not_read_and_leaves_is_seen_to_leave(yard: Yard) -> None:
    queues = {"mule": a_queue(1, refuses=False)}
    plan = replace(a_plan(queues=queues), transit_bytes=100_000)
    master = await yard.open(plan)
    heavy, light = await yard.greeted("heavy"), await yard.greeted("light")
    await heavy.submit(0, *[bytes(1000)] * 60)
    await wait_until(lambda: master.connections._held, within=LONG)
    await heavy.say(Call(1, {"method": "ping"}))

    heavy.close()
    await wait_until(lambda: len(master.clients.peers) == 1, within=LONG)

    assert not master.connections._held
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
    assert yard.master.connections._crowd.total == 0


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
    master.connections._pace._records[os.getpid()].free_at = time.monotonic() + LONG

    await second.connect()

    reason = reason_of(await second.ended())
    assert f"process {os.getpid()} makes too much work" in reason
    assert (await first.call("ping")).kind == 0


async def test_a_newcomer_that_is_kept_waiting_leaves_nothing_behind(
    yard: Yard,
) -> None:
    master = await yard.open(a_plan())
    await yard.greeted("first")
    record = master.connections._pace._records[os.getpid()]
    record.free_at = time.monotonic() + 0.9
    record.company_until = time.monotonic() + LONG
    waiting = yard.guest()
    await waiting.connect()
    await wait_until(lambda: len(master.clients.peers) == 2, within=LONG)

    await yard.stop()

    assert await waiting.ended() == []


async def test_who_reads_again_in_time_stays(yard: Yard) -> None:
    master = await yard.open(a_plan(patience=Patience(stall_s=LONG)))
    guest = await yard.greeted("slow")
    (peer,) = master.clients.peers.values()

    master.connections.stalled(peer, is_stalled=True)
    is_watched = ("stall", peer.number) in master._ticker
    master.connections.stalled(peer, is_stalled=False)

    assert is_watched
    assert ("stall", peer.number) not in master._ticker
    assert (await guest.call("ping")).kind == 0
