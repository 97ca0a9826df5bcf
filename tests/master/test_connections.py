"""Guests that may not come in, say nothing, say it slowly or say nonsense."""

import asyncio
import contextlib
from dataclasses import replace
from typing import Final

import pytest

from pymule.master.plan import Patience
from pymule.master.roles import AccessRule, Members
from pymule.sansio.frame import Opcode, encode_frame
from pymule.sansio.session import PROTOCOL_VERSIONS
from pymule.sansio.verbs import (
    Ack,
    Call,
    Close,
    Hello,
    Ready,
    Welcome,
)
from tests.conftest import MS, wait_until
from tests.master.conftest import Logged
from tests.master.harness import LONG, Yard, a_plan, is_root, reason_of

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
