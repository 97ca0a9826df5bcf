"""What the master answers about queues and dead letters."""

import json
import os
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pymule.errors import (
    BadCallError,
    DrainingError,
    QueueFullError,
    UnknownTargetError,
    UnsupportedError,
    error_of_reply,
)
from pymule.sansio.body import write_json
from pymule.sansio.delivery import DeadReason
from pymule.sansio.excerpt import excerpt_bytes
from pymule.sansio.queue import Limits
from pymule.sansio.verbs import Call, JsonObject, Reply, ReplyKind
from tests.master.conftest import Logged
from tests.master.harness import Yard, a_plan, a_spec, until
from tests.master.queue_desk import QueueDesk


def rows_in(answer: JsonObject, key: str) -> list[JsonObject]:
    rows = answer[key]
    assert isinstance(rows, list)
    return rows


def peeked(desk: QueueDesk, queue: str, **params: object) -> list[JsonObject]:
    return rows_in(desk.ask("peek", queue=queue, **params), "messages")


def dead(desk: QueueDesk, **params: object) -> list[JsonObject]:
    return rows_in(desk.ask("dead", **params), "letters")


def pages(desk: QueueDesk, **params: object) -> Iterator[list[JsonObject]]:
    after: object = None
    while True:
        answer = desk.ask("dead", after=after, **params)
        assert len(write_json(answer)) <= desk.frame
        yield rows_in(answer, "letters")
        # It crosses the wire.
        after = json.loads(json.dumps(answer["next"]))
        if after is None:
            return


def ids_of(rows: list[JsonObject]) -> list[object]:
    return [row["id"] for row in rows]


# Peek


def test_a_look_shows_messages_and_leases_none() -> None:
    desk = QueueDesk("mule")
    (one,) = desk.submit("mule", b"one", headers={"a": "b"}, priority=0)
    (two,) = desk.submit("mule", b"\xff")
    before = time.time()

    first, second = peeked(desk, "mule")

    accepted = first.pop("accepted_at")
    assert isinstance(accepted, float)
    assert abs(before - accepted) < 60
    assert first == {
        "id": one,
        "state": "ready",
        "attempts": 0,
        "crashes": 0,
        "due_at": None,
        "expires_at": None,
        "priority": 0,
        "options": {"headers": {"a": "b"}},
        "body_bytes": 3,
        "body_offset": 0,
        "body": "one",
        "truncated": False,
    }
    assert (second["id"], second["body_base64"]) == (two, "/w==")
    queue = desk.router.queues["mule"]
    assert (queue.ready_count, queue.leased) == (2, 0)


def test_what_a_mule_has_is_not_seen() -> None:
    desk = QueueDesk("mule")
    desk.submit("mule", b"out")
    desk.lease("mule")
    desk.submit("mule", b"in")

    assert [row["body"] for row in peeked(desk, "mule")] == ["in"]


def test_a_look_shows_the_first_200_bytes_unless_told() -> None:
    desk = QueueDesk("mule")
    desk.submit("mule", b"x" * 1000)

    (row,) = peeked(desk, "mule")
    (whole,) = peeked(desk, "mule", body_bytes=2000)
    (rest,) = peeked(desk, "mule", body_bytes=2000, body_offset=990)

    assert (row["body"], row["truncated"]) == ("x" * 200, True)
    assert (whole["body"], whole["truncated"]) == ("x" * 1000, False)
    assert rest["body"] == "x" * 10


def test_a_look_goes_on_where_the_last_one_ended() -> None:
    desk = QueueDesk("mule")
    ids = desk.submit("mule", *[b"%d" % number for number in range(25)])
    seen: list[object] = []
    skip: object = 0
    while skip is not None:
        answer = desk.ask("peek", queue="mule", limit=10, skip=skip)
        seen += ids_of(rows_in(answer, "messages"))
        skip = answer["next_skip"]

    assert seen == ids


def test_an_answer_has_as_many_messages_as_fit_in_a_frame() -> None:
    desk = QueueDesk("mule")
    desk.submit("mule", *[b"\0" * 30_000] * 9)

    answer = desk.ask("peek", queue="mule", limit=9, body_bytes=30_000)

    assert len(write_json(answer)) <= desk.frame
    assert 0 < len(rows_in(answer, "messages")) < 9
    assert answer["next_skip"] == len(rows_in(answer, "messages"))


def test_a_body_that_is_long_in_json_comes_in_smaller_parts() -> None:
    desk = QueueDesk("mule")
    desk.submit("mule", b"\0" * 1_000_000)
    body = b""
    while len(body) < 1_000_000:
        answer = desk.ask(
            "peek", queue="mule", body_offset=len(body), body_bytes=10_000_000
        )
        assert len(write_json(answer)) <= desk.frame
        (row,) = rows_in(answer, "messages")
        body += excerpt_bytes(row)

    assert body == b"\0" * 1_000_000


# Purge, pause and resume


def test_a_purge_drops_what_waits_and_not_what_a_mule_has(logged: Logged) -> None:
    desk = QueueDesk("mule", "farm:busy")
    desk.submit("mule", b"out")
    link = desk.lease("mule")
    desk.submit("mule", b"1", b"2")
    desk.submit("mule", b"late", delay=60)
    desk.submit("farm:busy", b"other")

    assert desk.ask("purge", queue="mule") == {
        "queue": "mule",
        "purged": 3,
        "more": False,
    }

    queue = desk.router.queues["mule"]
    assert (queue.count, queue.leased, queue.purged) == (1, 1, 3)
    assert desk.router.queues["farm:busy"].count == 1
    assert not desk.router.is_idle(link)
    (event,) = logged("queue purged")
    assert event == {
        "target": "mule",
        "count": 3,
        "pid": os.getpid(),
        "uid": 7,
    }


def test_a_paused_queue_keeps_its_messages_until_it_is_resumed(logged: Logged) -> None:
    desk = QueueDesk("mule")

    assert desk.ask("pause", queue="mule") == {"queue": "mule", "paused": True}
    desk.ask("pause", queue="mule")
    desk.submit("mule", b"x")
    link = desk.lease("mule")
    assert desk.router.is_idle(link)

    assert desk.ask("resume", queue="mule") == {"queue": "mule", "paused": False}
    desk.ask("resume", queue="mule")
    desk.router.deliveries(0.0)
    assert not desk.router.is_idle(link)
    who = {"target": "mule", "pid": os.getpid(), "uid": 7}
    # The second of each changed nothing.
    assert logged("queue paused") == [who]
    assert logged("queue resumed") == [who]


@pytest.mark.parametrize("method", ["peek", "purge", "pause", "resume", "dead"])
def test_an_unknown_queue_is_refused_and_the_known_are_named(method: str) -> None:
    desk = QueueDesk("mule", "farm:busy")

    for name in ("mule9", "no such thing", "mules"):
        with pytest.raises(UnknownTargetError) as caught:
            desk.ask(method, queue=name)
        assert caught.value.target == name
        assert caught.value.known == ["mule", "farm:busy"]


def test_a_queue_has_the_names_that_programs_use() -> None:
    desk = QueueDesk("mule", "farm:busy")

    assert desk.ask("peek", queue="farm_busy")["queue"] == "farm:busy"
    assert desk.ask("peek", queue="mule0")["queue"] == "mule"


# Dead letters


def test_the_list_tells_why_and_the_first_line_of_the_error() -> None:
    desk = QueueDesk("mule")
    error: JsonObject = {"type": "ValueError", "text": "no\nmore", "traceback": "T"}
    (number,) = desk.bury("mule", b"body", error=error)

    (row,) = dead(desk)

    times = row.pop("accepted_at"), row.pop("died_at")
    assert all(isinstance(at, float) for at in times)
    assert row == {
        "id": number,
        "queue": "mule",
        "reason": "rejected",
        "attempts": 1,
        "crashes": 0,
        "error": {"type": "ValueError", "text": "no"},
        "body_bytes": 4,
    }


def test_one_dead_letter_shows_each_attempt_and_the_last_traceback() -> None:
    desk = QueueDesk("mule")
    (number,) = desk.bury(
        "mule",
        b"body",
        reason=DeadReason.ATTEMPTS,
        error={"type": "E", "text": "no", "traceback": "Trace"},
        headers={"a": "b"},
        priority=3,
    )

    row = desk.ask("dead_show", id=number)

    first, last = rows_in(row, "errors")
    assert (first["attempt"], first["mule"], first["text"]) == (1, 3, "no")
    assert "traceback" not in first
    assert (last["attempt"], last["traceback"]) == (2, "Trace")
    assert row["options"] == {"priority": 3, "headers": {"a": "b"}}
    assert (row["body"], row["reason"], row["attempts"]) == ("body", "attempts", 2)


def test_an_unknown_dead_letter_is_refused() -> None:
    desk = QueueDesk("mule")
    with pytest.raises(BadCallError, match="no dead letter 99"):
        desk.ask("dead_show", id=99)


def test_the_list_has_only_what_is_wanted() -> None:
    desk = QueueDesk("mule", "mule1")
    (old,) = desk.bury("mule", b"a", ago=7200)
    (spent,) = desk.bury("mule", b"b", reason=DeadReason.ATTEMPTS, ago=60)
    (killed,) = desk.bury("mule1", b"c", reason=DeadReason.CRASHES)

    assert ids_of(dead(desk)) == [old, spent, killed]
    assert ids_of(dead(desk, queue="mule")) == [old, spent]
    assert ids_of(dead(desk, reason="attempts")) == [spent]
    assert ids_of(dead(desk, reason="crashes")) == [killed]
    assert ids_of(dead(desk, older_than_s=3600)) == [old]
    assert ids_of(dead(desk, newer_than_s=3600)) == [spent, killed]
    assert ids_of(dead(desk, newer_than_s=3600, older_than_s=30)) == [spent]
    assert ids_of(dead(desk, limit=2)) == [old, spent]


def test_the_oldest_of_a_queue_come_first_whenever_they_were_noted() -> None:
    desk = QueueDesk("mule")
    (young,) = desk.bury("mule", b"a")
    (old,) = desk.bury("mule", b"b", ago=60)

    assert ids_of(dead(desk)) == [old, young]


@given(
    plan=st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 3))),
    limit=st.integers(1, 4),
    purged=st.integers(0, 10),
)
@settings(deadline=None, max_examples=50)
def test_pages_give_each_letter_once_whatever_leaves_in_between(
    plan: list[tuple[str, int]], limit: int, purged: int
) -> None:
    desk = QueueDesk("farm:a", "farm:b")
    letters = [
        (f"farm:{name}", -ago, desk.bury(f"farm:{name}", b"x", ago=ago)[0])
        for name, ago in plan
    ]
    found: list[object] = []
    gone: set[object] = set()
    for page in pages(desk, limit=limit):
        found += ids_of(page)
        if len(found) >= purged and not gone:
            gone = {found[-1]} if found else set()
            desk.ask("dead_purge", ids=list(gone))

    assert sorted(map(str, found)) == sorted(str(number) for *_, number in letters)
    where = {number: name for name, _, number in letters}
    assert [where[number] for number in found if isinstance(number, int)] == sorted(
        name for name, *_ in letters
    )


def test_a_page_ends_after_so_many_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pymule.master.queues._MAX_LOOKS", 10)
    desk = QueueDesk("mule")
    desk.bury("mule", *[b"x"] * 25)
    (wanted,) = desk.bury("mule", b"y", reason=DeadReason.CRASHES)

    found = list(pages(desk, reason="crashes"))

    assert [len(page) for page in found] == [0, 0, 1]
    assert ids_of(found[-1]) == [wanted]


def test_full_letters_come_in_pages_that_fit_in_a_frame() -> None:
    desk = QueueDesk("mule")
    error: JsonObject = {
        "type": "\0" * 300,
        "text": "\0" * 9_000,
        "traceback": "\0" * 9_000,
    }
    ids = desk.bury("mule", *[b"\0" * 70_000] * 5, error=error)

    found = [row for page in pages(desk, full=True) for row in page]

    assert ids_of(found) == ids
    assert all(row["truncated"] for row in found)


def test_a_message_is_tried_again_as_if_for_the_first_time(logged: Logged) -> None:
    desk = QueueDesk("mule", "mule1")
    ids = desk.bury("mule", b"a", b"b", b"c")

    answer = desk.ask("dead_replay", ids=[*ids[:2], 99])
    other = desk.ask("dead_replay", ids=ids[2:], target="mule1")

    assert answer == {"done": ids[:2], "unknown": [99], "refused": None}
    assert other == {"done": ids[2:], "unknown": [], "refused": None}
    assert dead(desk) == []
    again = peeked(desk, "mule")
    assert [(row["id"], row["body"], row["attempts"]) for row in again] == [
        (ids[0], "a", 0),
        (ids[1], "b", 0),
    ]
    assert ids_of(peeked(desk, "mule1")) == ids[2:]
    who = {"pid": os.getpid(), "uid": 7}
    assert logged("dead letters replayed") == [
        {"count": 2, "first": ids[0], "to": None, **who},
        {"count": 1, "first": ids[2], "to": "mule1", **who},
    ]


def test_a_replay_ends_when_the_queue_is_full() -> None:
    desk = QueueDesk("mule", limits=Limits(max_messages=2))
    ids = desk.bury("mule", *[b"x"] * 4)

    answer = desk.ask("dead_replay", ids=ids)

    assert answer["done"] == ids[:2]
    refused = answer["refused"]
    assert isinstance(refused, dict)
    assert refused["id"] == ids[2]
    assert isinstance(error_of_reply(refused), QueueFullError)
    assert ids_of(dead(desk)) == ids[2:]


def test_a_replay_to_nowhere_changes_nothing() -> None:
    desk = QueueDesk("mule")
    ids = desk.bury("mule", b"x")

    with pytest.raises(UnknownTargetError):
        desk.ask("dead_replay", ids=ids, target="farm:none")

    assert ids_of(dead(desk)) == ids


def test_a_master_that_stops_replays_nothing() -> None:
    desk = QueueDesk("mule")
    ids = desk.bury("mule", b"x")
    desk.is_draining = True

    with pytest.raises(DrainingError):
        desk.ask("dead_replay", ids=ids)


def test_purged_letters_are_gone_and_the_log_tells_who(logged: Logged) -> None:
    desk = QueueDesk("mule")
    ids = desk.bury("mule", b"a", b"b", b"c")

    answer = desk.ask("dead_purge", ids=[ids[0], 99, ids[2], ids[0]])

    assert answer == {"done": [ids[0], ids[2]], "unknown": [99]}
    assert ids_of(dead(desk)) == [ids[1]]
    assert logged("dead letters purged") == [
        {"count": 2, "first": ids[0], "pid": os.getpid(), "uid": 7}
    ]
    assert desk.ask("dead_purge", ids=[99]) == {"done": [], "unknown": [99]}
    assert len(logged("dead letters purged")) == 1


@pytest.mark.parametrize("method", [["peek"], {"peek": 1}, None, 7])
async def test_what_is_no_name_of_a_call_is_unknown(yard: Yard, method: object) -> None:
    await yard.open(a_plan())
    guest = await yard.greeted()

    await guest.say(Call(1, {"method": method}))
    reply = await guest.hear(Reply)

    assert isinstance(error_of_reply(reply.value), UnsupportedError)


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("peek", {}),
        ("peek", {"queue": 7}),
        ("peek", {"queue": "x" * 1001}),
        ("peek", {"queue": "mule", "limit": 0}),
        ("peek", {"queue": "mule", "limit": 1001}),
        ("peek", {"queue": "mule", "limit": True}),
        ("peek", {"queue": "mule", "skip": -1}),
        ("peek", {"queue": "mule", "body_bytes": -1}),
        ("peek", {"queue": "mule", "body_offset": 1.5}),
        ("dead", {"reason": "boredom"}),
        ("dead", {"reason": "x" * 100_000}),
        ("dead", {"older_than_s": -1}),
        ("dead", {"older_than_s": 10**400}),
        ("dead", {"older_than_s": float("inf")}),
        ("dead", {"newer_than_s": "1h"}),
        ("dead", {"after": 7}),
        ("dead", {"after": ["mule", "x", 1]}),
        ("dead_show", {}),
        ("dead_show", {"id": "1"}),
        ("dead_replay", {}),
        ("dead_replay", {"ids": ["1"]}),
        ("dead_replay", {"ids": [True]}),
        ("dead_purge", {"ids": [1] * 1001}),
    ],
)
def test_a_parameter_that_cannot_be_used_is_refused(
    method: str, params: JsonObject
) -> None:
    desk = QueueDesk("mule")
    with pytest.raises(BadCallError, match=r"allowed: ") as caught:
        desk.ask(method, **params)
    assert len(str(caught.value)) < 300


async def test_a_client_asks_about_queues_over_its_connection(yard: Yard) -> None:
    await yard.open(a_plan())
    guest = await yard.greeted()
    await guest.submit(0, b"hello")
    await guest.confirmed(1)

    reply = await guest.call("peek", queue="mule")
    refused = await guest.call("dead_show", id=99)

    (row,) = rows_in(reply.value, "messages")
    assert (reply.kind, row["body"]) == (ReplyKind.LAST, "hello")
    assert refused.kind == ReplyKind.ERROR
    assert str(error_of_reply(refused.value)) == "no dead letter 99"


async def test_what_is_let_go_or_tried_again_is_delivered_at_once(yard: Yard) -> None:
    program = """
        be_ready()
        ask(10)
        while True:
            deliver = hear(Deliver)
            say(Nack(deliver.first_id, deliver.attempt, 0.0, True, {}))
    """
    master = await yard.open_ready(a_plan(a_spec(1, program)))
    queue = master.router.queues["mule"]
    guest = await yard.greeted()
    await guest.call("pause", queue="mule")
    await guest.submit(0, b"hello")
    await guest.confirmed(1)
    assert (queue.ready_count, queue.accepted) == (1, 1)

    await guest.call("resume", queue="mule")
    await until(lambda: len(queue.dead) == 1)
    (letter,) = queue.dead
    await guest.call("dead_replay", ids=[letter.id])
    await until(lambda: queue.failed == 2 and len(queue.dead) == 1)
