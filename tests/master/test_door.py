"""Guests for whom there is no place."""

import resource
from dataclasses import replace

import pytest

from pymule.errors import ConfigError
from pymule.master import door
from pymule.master.door import check_descriptors, warn_of_descriptors
from pymule.master.roles import AccessRule, Members
from tests.conftest import MS, wait_until
from tests.master.conftest import Logged
from tests.master.harness import LONG, Yard, a_plan, a_spec, is_root, reason_of

NOBODY = 65534


async def until_left(yard: Yard, count: int) -> None:
    await wait_until(lambda: len(yard.master.clients.peers) == count, within=LONG)


async def test_who_finds_no_place_is_told_and_the_others_go_on(
    yard: Yard, logged: Logged
) -> None:
    await yard.open(replace(a_plan(), max_clients=2))
    inside = [await yard.greeted(f"guest {number}") for number in range(2)]
    outside = [yard.guest() for _ in range(3)]

    for guest in outside:
        await guest.connect()
        reason = reason_of(await guest.ended())
        assert reason == "2 clients are connected; max_clients is 2"

    for guest in inside:
        assert (await guest.call("ping")).kind == 0
    first = logged("clients refused")[0]
    assert (first["count"], first["clients"]) == (1, 2)


async def test_a_refused_guest_that_is_slow_to_say_hello_is_told_all_the_same(
    yard: Yard,
) -> None:
    await yard.open(replace(a_plan(), max_clients=1))
    inside, outside = await yard.greeted("inside"), yard.guest()

    await outside.connect()
    # By now it was refused.
    await inside.call("ping")
    await outside.say_bytes(b"\x00" * 8)

    assert "max_clients is 1" in reason_of(await outside.ended())


async def test_those_who_leave_make_room(yard: Yard) -> None:
    await yard.open(replace(a_plan(), max_clients=1))

    for number in range(3):
        guest = await yard.greeted(str(number))
        guest.close()
        await until_left(yard, 0)
        silent = yard.guest()
        await silent.connect()
        await until_left(yard, 1)
        silent.close()
        await until_left(yard, 0)


async def test_only_so_many_linger_and_they_are_logged_together(
    yard: Yard, logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "_LINGERING", 2)
    monkeypatch.setattr(door, "_LINGER_S", 200 * MS)
    await yard.open(replace(a_plan(), max_clients=1))
    inside = await yard.greeted("inside")

    for _ in range(10):
        await yard.guest().connect()
    await inside.call("ping")
    lingering = yard.master.connections._door._lingering
    most = len(lingering)
    await wait_until(lambda: not lingering, within=LONG)

    assert most == 2
    counts = [fields["count"] for fields in logged("clients refused")]
    assert sum(map(int, map(str, counts))) == 10
    assert len(counts) < 10


async def test_descriptors_are_kept_back_for_the_mules(yard: Yard) -> None:
    await yard.open(a_plan())
    inside = await yard.greeted("inside")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    outside = yard.guest()

    low = outside._sock.fileno() + 8
    resource.setrlimit(resource.RLIMIT_NOFILE, (low, hard))
    try:
        await outside.connect()
        reason = reason_of(await outside.ended())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert reason == f"the master has no descriptors left for clients; nofile is {low}"
    assert (await inside.call("ping")).kind == 0
    await yard.greeted("later")


@pytest.mark.skipif(not is_root(), reason="needs to be root")
async def test_a_user_does_not_take_the_places_of_others(yard: Yard) -> None:
    yard.path.parent.chmod(0o755)
    access = replace(a_plan().access, senders=Members(frozenset({NOBODY})))
    await yard.open(replace(a_plan(), max_clients=4, access=access))
    guests = [yard.guest() for _ in range(4)]

    for guest in guests:
        guest.connect_as(NOBODY)
    reasons = [reason_of(await guest.ended()) for guest in guests[2:]]

    assert set(reasons) == {
        f"user {NOBODY} has 2 connections and 2 are left; max_clients is 4"
    }
    assert (await (await yard.greeted("ours")).call("ping")).kind == 0


@pytest.mark.parametrize(("clients", "warnings"), [(1, 0), (1_000_000, 1)])
def test_a_limit_of_open_files_below_the_plan_is_told(
    logged: Logged, clients: int, warnings: int
) -> None:
    warn_of_descriptors(replace(a_plan(), max_clients=clients))

    told = logged("few descriptors")
    assert len(told) == warnings
    assert all(fields["max_clients"] == clients for fields in told)


def test_more_mules_than_open_files_are_refused_with_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (128, 128))
    check_descriptors(a_plan(*map(a_spec, range(1, 11))))

    with pytest.raises(ConfigError) as raised:
        check_descriptors(a_plan(*map(a_spec, range(1, 12))))

    assert "11 mules need 136 open files" in str(raised.value)
    assert "nofile is 128, enough for 10" in str(raised.value)


@pytest.mark.skipif(not is_root(), reason="needs to be root")
async def test_an_admin_may_take_all_places(yard: Yard) -> None:
    yard.path.parent.chmod(0o755)
    access = AccessRule(admins=Members(frozenset({NOBODY})))
    await yard.open(replace(a_plan(), max_clients=4, access=access))
    guests = [yard.guest() for _ in range(4)]

    for guest in guests:
        guest.connect_as(NOBODY)

    await until_left(yard, 4)
