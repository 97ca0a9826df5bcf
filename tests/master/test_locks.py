"""What the master does about locks, seen from its socket."""

import os
import signal
from dataclasses import replace

import pytest

from pymule.errors import BadCallError, NotHolderError
from pymule.sansio.verbs import Call, JsonObject, Reply, ReplyKind
from tests.conftest import MS, wait_until
from tests.master.harness import LONG, Guest, Yard, a_plan, a_spec

# A mule whose own client holds the lock "a"; a child keeps the connection open.
HOLDER = """
be_ready()
sock = socket.socket(socket.AF_UNIX)
sock.connect(os.environ["SOCKET"])
client = Session(Role.CLIENT, Role.MASTER)
hello = {"protocol": list(PROTOCOL_VERSIONS), "client": "mule", "name": "holder"}
sock.sendall(client.pack(Hello(hello)))
client.receive_data(sock.recv(65536))
sock.sendall(client.pack(Call(1, {"method": "lock", "name": "a"})))
if os.fork() == 0:
    os.setsid()
    link.close()
    signal.alarm(20)
rest()
"""


async def ask(guest: Guest, number: int, name: object = "a", **params: object) -> None:
    """Ask for a lock; the answer comes when it comes."""
    await guest.say(Call(number, {"method": "lock", "name": name, **params}))


async def granted(guest: Guest) -> int:
    """Wait for a grant; return its token."""
    token = (await guest.hear(Reply)).value["token"]
    assert isinstance(token, int)
    return token


async def locked(guest: Guest, name: object = "a", **params: object) -> int:
    """Take a lock that is free; return its token."""
    await ask(guest, 7, name, **params)
    return await granted(guest)


async def locks_of(yard: Yard) -> list[JsonObject]:
    """Return the locks of the status."""
    found = (await yard.status())["locks"]
    assert isinstance(found, list)
    return found


async def test_locks_are_given_in_the_order_of_asking(yard: Yard) -> None:
    await yard.open(a_plan())
    first, second, third = [await yard.greeted(f"g{n}") for n in range(3)]
    tokens = [await locked(first)]
    for guest in (second, third):
        await ask(guest, 9)
        await heard(guest)

    for guest, heir in ((first, second), (second, third)):
        await guest.call("unlock", name="a", token=tokens[-1])
        tokens.append(await granted(heir))
    done = await third.call("unlock", name="a", token=tokens[-1])

    assert (done.kind, done.value) == (ReplyKind.LAST, {})
    assert tokens == sorted(set(tokens))
    assert await locks_of(yard) == []


async def heard(guest: Guest) -> None:
    """Wait until the master has read what *guest* said."""
    await guest.call("is_locked", name="a")


async def test_the_status_says_who_has_what(yard: Yard) -> None:
    await yard.open(a_plan())
    guest = yard.guest()
    await guest.greet("id", "a name")
    token = await locked(guest, 3)
    await ask(guest, 9, "3")
    await heard(guest)

    (row,) = await locks_of(yard)

    held_s = row.pop("held_s")
    assert isinstance(held_s, float)
    assert 0 <= held_s < LONG
    assert row == {
        "name": "3",
        "holder": "a name",
        "pid": os.getpid(),
        "waiting": 1,
        "token": token,
    }


async def test_who_does_not_wait_is_told_that_it_is_taken(yard: Yard) -> None:
    await yard.open(a_plan())
    one, other = await yard.greeted("one"), await yard.greeted("other")
    await locked(one)

    reply = await other.call("lock", name="a", wait=False)

    assert (reply.kind, reply.value) == (ReplyKind.LAST, {"token": None})
    assert (await other.call("is_locked", name="a")).value == {"locked": True}
    assert (await other.call("is_locked", name="b")).value == {"locked": False}


async def test_only_its_connection_can_unlock(yard: Yard) -> None:
    await yard.open(a_plan())
    one, other = await yard.greeted("one"), await yard.greeted("other")
    token = await locked(one)

    reply = await other.call("unlock", name="a", token=token)

    assert (reply.kind, reply.value["code"]) == (ReplyKind.ERROR, NotHolderError.code)
    assert reply.value["detail"] == {"lock": "a"}


async def test_a_lost_connection_releases(yard: Yard) -> None:
    await yard.open(a_plan())
    one, other = await yard.greeted("one"), await yard.greeted("other")
    await locked(one)
    await ask(other, 5)

    one.close()

    assert await granted(other)


async def test_who_connects_again_leaves_its_old_place_in_the_line(
    yard: Yard,
) -> None:
    master = await yard.open(a_plan())
    one, twice, third = [await yard.greeted(f"g{n}") for n in range(3)]
    token = await locked(one)
    for guest in (twice, third):
        await ask(guest, 5, ttl=LONG)
        await heard(guest)
    old = [
        peer for peer in master.clients.peers.values() if peer.client.endswith(" g1")
    ]

    # As a HELLO of the same client does, before the old connection is seen to end.
    master.clients.remove(old[0])
    await one.call("unlock", name="a", token=token)

    assert await granted(third)


async def test_the_same_client_on_two_connections_has_no_lock_of_the_first(
    yard: Yard,
) -> None:
    await yard.open(a_plan())
    first = await yard.greeted("same")
    await locked(first)

    second = await yard.greeted("same")

    await ask(second, 5)
    assert await granted(second)


async def test_a_lock_ends_with_its_ttl(yard: Yard) -> None:
    await yard.open(a_plan())
    one, other = await yard.greeted("one"), await yard.greeted("other")
    token = await locked(one, ttl=20 * MS)
    await ask(other, 5)

    await granted(other)

    reply = await one.call("unlock", name="a", token=token)
    assert reply.value["code"] == NotHolderError.code


async def test_no_deadline_is_left_of_a_lock_that_ended_before(yard: Yard) -> None:
    master = await yard.open(a_plan())
    one, other = await yard.greeted("one"), await yard.greeted("other")
    tokens = [await locked(one, "a", ttl=LONG), await locked(other, "b", ttl=LONG)]
    armed = [("lock", token) in master._ticker for token in tokens]

    await one.call("unlock", name="a", token=tokens[0])
    other.close()
    await wait_until(lambda: len(master.clients.peers) == 1, within=LONG)

    assert armed == [True, True]
    assert [("lock", token) in master._ticker for token in tokens] == [False, False]


async def test_a_waiter_that_gave_up_is_passed_over(yard: Yard) -> None:
    await yard.open(a_plan())
    one, other, third = [await yard.greeted(f"g{n}") for n in range(3)]
    token = await locked(one)
    await ask(other, 5)
    await other.call("lock_withdraw", call=5)
    await ask(third, 5)

    await one.call("unlock", name="a", token=token)

    assert await granted(third)
    assert other.heard == []


async def test_a_lock_that_is_withdrawn_too_late_is_released(yard: Yard) -> None:
    await yard.open(a_plan())
    one, other = await yard.greeted("one"), await yard.greeted("other")
    await locked(one)
    await ask(other, 5)

    await one.call("lock_withdraw", call=7)

    assert await granted(other)


async def test_the_locks_of_a_mule_that_died_are_free_though_a_child_lives(
    yard: Yard,
) -> None:
    spec = a_spec(1, HOLDER)
    spec = replace(spec, env={**spec.env, "SOCKET": str(yard.path)})
    await yard.open_ready(a_plan(spec))
    pid = yard.pid()
    assert pid is not None
    guest = await yard.greeted()
    await wait_until(lambda: list(yard.master.locks.describe()), within=LONG)
    await ask(guest, 5)

    os.kill(pid, signal.SIGKILL)
    await granted(guest)

    (held,) = yard.master.locks.describe()
    assert held["pid"] == os.getpid()


@pytest.mark.parametrize(
    ("method", "params", "reason"),
    [
        ("lock", {"name": ""}, "lock ''; allowed: a text of 1 to 255"),
        ("lock", {"name": "a", "ttl": 0}, "ttl 0; allowed: seconds above 0"),
        ("lock", {"name": "a", "wait": 1}, "wait 1; allowed: true or false"),
        ("unlock", {"token": 1}, "lock None; allowed"),
        ("unlock", {"name": "a", "token": "1"}, "token '1'; allowed: an integer"),
        ("lock_withdraw", {"call": True}, "call True; allowed: an integer"),
        ("is_locked", {"name": 1.5}, "lock 1.5; allowed"),
    ],
    ids=str,
)
async def test_a_bad_call_is_refused_with_the_reason(
    yard: Yard, method: str, params: JsonObject, reason: str
) -> None:
    await yard.open(a_plan())
    guest = await yard.greeted()

    reply = await guest.call(method, **params)

    assert (reply.kind, reply.value["code"]) == (ReplyKind.ERROR, BadCallError.code)
    assert reason in str(reply.value["detail"])
