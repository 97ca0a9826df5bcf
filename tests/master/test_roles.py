"""Who may do what, by the table and at the socket."""

import os
from dataclasses import replace
from typing import Final

import pytest

from pymule.errors import ConfigError, NotAllowedError, UnsupportedError
from pymule.master.listener import Credentials
from pymule.master.roles import (
    NEEDED,
    SUBMIT,
    AccessRule,
    Members,
    UserRole,
    check_role,
    role_needed,
)
from pymule.sansio.session import PROTOCOL_VERSIONS
from pymule.sansio.sparing import Sparing
from pymule.sansio.verbs import Hello, JsonObject, Refuse, Reply, ReplyKind, Welcome
from tests.master.conftest import Logged
from tests.master.harness import Guest, Yard, a_plan, a_spec, first, is_root, until

ALICE: Final = 41_000
STAFF: Final = 41_001
RULE: Final = AccessRule(
    admins=Members(frozenset({1}), frozenset({10})),
    senders=Members(frozenset({2, 1}), frozenset({20})),
    readers=Members(frozenset({3}), frozenset({30})),
)
ROLES: Final = {
    UserRole.ADMIN: AccessRule(admins=Members(frozenset({ALICE}))),
    UserRole.SENDER: AccessRule(senders=Members(frozenset({ALICE}))),
    UserRole.READER: AccessRule(readers=Members(frozenset({ALICE}))),
    UserRole.NOBODY: AccessRule(),
}


async def a_guest(yard: Yard, role: UserRole) -> Guest:
    """Return a guest that the master takes for Alice, who has *role*."""
    yard.master.plan = replace(yard.master.plan, access=ROLES[role])
    guest, peers = yard.guest(), yard.master.clients.peers
    known = set(peers)
    await guest.connect()
    await until(lambda: len(peers) > len(known))
    (number,) = set(peers) - known
    # As if the kernel had said so; only root can connect as somebody else.
    peers[number].credentials = Credentials(os.getpid(), ALICE, ALICE)
    await guest.say(Hello({"protocol": list(PROTOCOL_VERSIONS), "client": "alice"}))
    await guest.hear(Welcome)
    return guest


def is_refused(reply: Reply) -> bool:
    """Whether a call was refused because of the role."""
    return (reply.kind, reply.value.get("code")) == (
        ReplyKind.ERROR,
        NotAllowedError.code,
    )


# The table


@pytest.mark.parametrize(
    ("who", "role"),
    [
        (Credentials(1, 0, 0), UserRole.ADMIN),
        (Credentials(1, os.geteuid(), 99), UserRole.ADMIN),
        (Credentials(1, 1, 99), UserRole.ADMIN),
        (Credentials(1, 2, 99), UserRole.SENDER),
        (Credentials(1, 3, 99), UserRole.READER),
        (Credentials(1, 4, 99), UserRole.NOBODY),
        (Credentials(1, 4, 10), UserRole.ADMIN),
        (Credentials(1, 4, 20), UserRole.SENDER),
        (Credentials(1, 4, 99, (98, 30)), UserRole.READER),
        (Credentials(1, 3, 99, (98, 20)), UserRole.SENDER),
        (Credentials(1, 99, 1, (2, 3)), UserRole.NOBODY),
    ],
)
def test_a_user_has_the_greatest_role_that_names_it_or_a_group_of_it(
    who: Credentials, role: UserRole
) -> None:
    assert RULE.role_of(who) is role


def test_without_names_only_root_and_the_own_user_are_let_in() -> None:
    uids = {*range(5000), os.geteuid()}
    roles = {uid: AccessRule().role_of(Credentials(1, uid, uid)) for uid in uids}

    let_in = {uid: role for uid, role in roles.items() if role}
    assert let_in == dict.fromkeys({0, os.geteuid()}, UserRole.ADMIN)


def test_what_is_not_in_the_table_needs_an_admin() -> None:
    assert role_needed("format_the_disk") is UserRole.ADMIN
    assert role_needed("") is UserRole.ADMIN
    assert UserRole.NOBODY not in NEEDED.values()


@pytest.mark.parametrize(
    ("act", "role", "key"),
    [
        ("status", "reader", "reader_users"),
        (SUBMIT, "sender", "allow_users"),
        ("stop", "admin", "admin_users"),
    ],
)
def test_a_refusal_names_the_role_that_is_needed_and_how_to_get_it(
    act: str, role: str, key: str
) -> None:
    who = Credentials(1, ALICE, ALICE)

    with pytest.raises(NotAllowedError, match=f"{act}.* role {role}.* {ALICE}.*{key}"):
        check_role(UserRole.NOBODY, act, who)


def test_a_refusal_repeats_only_the_beginning_of_what_was_asked_for() -> None:
    with pytest.raises(NotAllowedError) as caught:
        check_role(UserRole.SENDER, "x" * 100_000, Credentials(1, 2, 3))

    assert len(str(caught.value)) < 300


# At the socket


async def test_every_call_is_in_the_table(yard: Yard) -> None:
    master = await yard.open(a_plan())
    control = set(master.connections._control._methods) | {
        "logs",
        "reload",
        "status",
    }
    signals = set(master.signals._methods) | {"raise", "register"}
    locks = set(master.locks._methods)
    queues = set(master.connections._control._queues._methods)

    assert {SUBMIT} | control | signals | locks | queues == set(NEEDED)


@pytest.mark.parametrize("role", [UserRole.SENDER, UserRole.READER, UserRole.NOBODY])
async def test_a_call_is_answered_to_those_who_may_and_refused_to_others(
    yard: Yard, role: UserRole
) -> None:
    await yard.open(a_plan())
    guest = await a_guest(yard, role)

    refused = {
        method
        for method in NEEDED
        if is_refused(await guest.call(method, name="x", signal=1, call=1))
    }

    # To submit is no call, so nobody has one of that name.
    may = {act for act, needed in NEEDED.items() if needed <= role}
    assert refused == set(NEEDED) - may


@pytest.mark.parametrize(
    ("role", "code"),
    [
        (UserRole.ADMIN, UnsupportedError.code),
        (UserRole.SENDER, NotAllowedError.code),
    ],
)
async def test_only_an_admin_learns_which_calls_there_are(
    yard: Yard, role: UserRole, code: int
) -> None:
    await yard.open(a_plan())
    guest = await a_guest(yard, role)

    assert (await guest.call("format_the_disk")).value["code"] == code


async def test_each_submit_of_a_reader_is_refused_and_its_connection_stays(
    yard: Yard, logged: Logged
) -> None:
    await yard.open(a_plan())
    guest = await a_guest(yard, UserRole.READER)

    await guest.submit(0, b"a", b"b")
    await guest.submit(2, b"c", target="no such target")
    refusals = [await guest.hear(Refuse) for _ in range(2)]

    assert [(r.sequence, r.count, r.code) for r in refusals] == [
        (0, 2, NotAllowedError.code),
        (2, 1, NotAllowedError.code),
    ]
    assert "allow_users" in str(refusals[0].detail)
    assert not yard.master.router.queues["mule"].count
    assert (await guest.call("ping")).kind is ReplyKind.LAST
    (record,) = logged("not allowed")
    assert (record["uid"], record["client"], record["count"]) == (ALICE, "", 1)


async def test_a_sender_sends(yard: Yard) -> None:
    await yard.open(a_plan())
    guest = await a_guest(yard, UserRole.SENDER)

    await guest.submit(0, b"a")

    assert await guest.confirmed(1)


async def test_a_reload_changes_the_roles_of_those_who_are_connected(
    yard: Yard,
) -> None:
    await yard.open(a_plan())
    guest = await a_guest(yard, UserRole.SENDER)
    before = await guest.call("raise", signal=300)

    await yard.reload(replace(yard.master.plan, access=ROLES[UserRole.NOBODY]))

    assert not is_refused(before)
    assert is_refused(await guest.call("raise", signal=300))
    assert is_refused(await guest.call("ping"))


async def test_the_status_says_who_has_which_role(yard: Yard) -> None:
    await yard.open(a_plan())
    guest = await a_guest(yard, UserRole.READER)
    await guest.call("ping")

    clients = (await yard.status())["clients"]

    assert isinstance(clients, list)
    assert [(c["uid"], c["role"]) for c in clients] == [
        (ALICE, "reader"),
        (os.getuid(), "admin"),
    ]


async def test_words_of_programs_and_of_the_file_are_for_admins(yard: Yard) -> None:
    await yard.open(a_plan(a_spec(1, "be_ready(); sys.exit(125)")))
    await until(lambda: yard.states() == {1: "down"})
    error: JsonObject = {
        "type": "ValueError",
        "text": "hunter2",
        "traceback": "hunter2",
    }
    first(yard).last_exit = {"reason": "raised", "error": error}
    await yard.reload(ConfigError("pymule.toml:1:1: found 'hunter2'"))

    guest = await a_guest(yard, UserRole.READER)
    seen = (await guest.call("status")).value
    full = await yard.status()

    assert "hunter2" not in str(seen)
    assert seen["config_error"] == "(for admins)"
    assert "ValueError" in str(seen)
    assert str(full).count("hunter2") == 3


async def test_nobody_takes_over_from_the_client_of_another_user(yard: Yard) -> None:
    await yard.open(a_plan())
    guest = await a_guest(yard, UserRole.SENDER)

    other = await yard.greeted("alice")

    assert (await guest.call("ping")).kind is ReplyKind.LAST
    assert (await other.call("ping")).kind is ReplyKind.LAST


async def test_a_flood_of_those_who_may_not_does_not_flood_the_log(
    yard: Yard, logged: Logged
) -> None:
    await yard.open(a_plan())
    guest = await a_guest(yard, UserRole.READER)
    yard.master.clients._denials = Sparing(1000.0)

    for _ in range(100):
        assert is_refused(await guest.call("stop"))

    assert len(logged("not allowed")) == 1


@pytest.mark.skipif(not is_root(), reason="needs to be root")
async def test_a_flood_of_strangers_does_not_flood_the_log(
    yard: Yard, logged: Logged
) -> None:
    yard.path.parent.chmod(0o755)
    await yard.open(a_plan())
    yard.master.clients._refusals = Sparing(1000.0)

    for _ in range(20):
        guest = yard.guest()
        guest.connect_as(ALICE)
        assert await guest.ended() == []

    (record,) = logged("connection refused")
    assert (record["uid"], record["count"]) == (ALICE, 1)
