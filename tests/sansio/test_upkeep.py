import pytest

from pymule.errors import QueueFullError, UnknownTargetError
from pymule.sansio.alarms import AlarmKind
from pymule.sansio.batch import pack_bodies
from pymule.sansio.delivery import DeadLetter, DeadReason, DeliveryPolicy
from pymule.sansio.options import OptionWords, pack_options
from pymule.sansio.queue import Keeping, Limits
from pymule.sansio.record import (
    Buried,
    DeadGone,
    Durability,
    Gone,
    Paused,
    Recovered,
    RowGone,
    SeenId,
    Share,
    Stored,
    StoredRow,
)
from pymule.sansio.target import MessageId
from pymule.sansio.upkeep import Recovery, Upkeep
from tests.sansio.routing import DURABLE, Desk


def desk_with_dead(*bodies: bytes, keeping: Keeping | None = None) -> Desk:
    desk = Desk("a", "b", keeping=keeping)
    link = desk.link(100, "a", credit=len(bodies))
    for body in bodies:
        desk.submit("a", body)
        desk.write()
    desk.sent()
    for number in range(1, len(bodies) + 1):
        desk.nack(link, number, is_final=True)
    desk.router.drain_link(link)
    desk.router.take_facts()
    return desk


def letters(upkeep: Upkeep, name: str | None = None) -> list[int]:
    return [letter.id for letter in upkeep.dead_letters(name)]


def letter_of(upkeep: Upkeep, number: int) -> DeadLetter:
    found = upkeep.find_dead(MessageId(number))
    assert found is not None
    return found


# Looking


def test_peeking_shows_what_waits_and_leases_nothing() -> None:
    desk = Desk("a")
    dead = desk.link(1, "a", credit=1)
    desk.submit("a", b"suspect", now=1.0)
    desk.sent()
    desk.gone(dead, 0)
    desk.submit("a", b"x", b"y", now=2.0, priority=3, ttl=9.0)
    upkeep = Upkeep(desk.router)

    first, second, third = upkeep.peek("a", 9)

    assert (first.state, first.body, first.attempts, first.crashes) == (
        "suspect", b"suspect", 1, 1,
    )  # fmt: skip
    assert (second.id, second.queue, second.state, second.body) == (
        2,
        "a",
        "ready",
        b"x",
    )
    assert (second.priority, second.accepted_at, second.expires_at) == (3, 2.0, 11.0)
    assert (third.id, third.body) == (3, b"y")
    assert [one.id for one in upkeep.peek("a", 1, skip=1)] == [2]
    assert desk.router.queues["a"].ready_count == 3


def test_a_look_tells_when_a_delayed_message_is_due_and_no_other() -> None:
    desk = Desk("a")
    desk.submit("a", b"x", b"y", now=2.0, delay=60)
    upkeep = Upkeep(desk.router)

    assert [one.due_at for one in upkeep.peek("a", 9)] == [62.0, 62.0]

    desk.due(1)

    found = [(one.state, one.due_at) for one in upkeep.peek("a", 9)]
    assert found == [("ready", None), ("ready", None)]


# Holding


def test_a_paused_queue_accepts_and_delivers_nothing_until_it_is_resumed() -> None:
    desk = Desk("a")
    desk.link(1, "a", credit=9)
    upkeep = Upkeep(desk.router)

    assert upkeep.pause("a")
    assert not upkeep.pause("a")
    assert desk.submit("a", b"x") == [(1, 1, 1, 1)]
    assert desk.sent() == []
    assert upkeep.resume("a")
    assert not upkeep.resume("a")

    assert desk.sent() == [(1, [b"x"])]
    assert desk.router.take_facts() == [
        Paused("a", is_paused=True),
        Paused("a", is_paused=False),
    ]


def test_a_queue_that_is_no_more_is_not_paused() -> None:
    desk = Desk("a")
    Upkeep(desk.router).pause("a")
    desk.router.take_facts()

    desk.router.close_queue("a")

    assert desk.router.take_facts() == [Paused("a", is_paused=False)]


def test_a_pause_keeps_no_mule_free() -> None:
    desk = Desk("a", "b")
    link = desk.link(1, "a", "b", credit=2)
    dead = desk.link(2, "a", credit=1)
    desk.submit("a", b"w")
    desk.submit("a", b"suspect")
    desk.sent()
    desk.gone(dead, 0)
    desk.sent()
    assert desk.router.links[link].reserved_by is desk.router.queues["a"]

    Upkeep(desk.router).pause("a")
    desk.submit("b", b"x")

    assert desk.sent() == [(1, [b"x"])]


# Emptying


def test_a_purge_drops_what_waits_and_not_what_mules_have() -> None:
    desk = Desk("a", keeping=DURABLE)
    link = desk.link(1, "a", credit=1)
    desk.submit("a", b"leased", b"y", b"z")
    desk.submit("a", b"k1", b"k2", b"k3", key="k")
    desk.submit("a", b"later", delay=9.0, ttl=99.0)
    desk.write()
    desk.sent()
    desk.router.take_facts()
    desk.router.take_alarms()
    upkeep = Upkeep(desk.router)

    assert upkeep.purge("a", 99) == 6

    queue = desk.router.queues["a"]
    assert (queue.count, queue.purged, queue.ready_count) == (1, 6, 0)
    assert desk.router.take_alarms() == {
        (AlarmKind.DUE, 7): None,
        (AlarmKind.EXPIRY, 7): None,
    }
    assert desk.router.take_facts() == [
        Gone(1, 2, 2), Gone(2, 4, 1), RowGone(3), Gone(2, 5, 1), RowGone(2),
    ]  # fmt: skip
    desk.router.ack(link, 1, 1, 1)
    assert (queue.count, queue.bytes) == (0, 0)
    desk.submit("a", b"new", key="k")
    desk.write()
    desk.grant(link, 9)
    assert desk.sent() == [(1, [b"new"])]


def test_a_purge_frees_the_mule_that_was_kept_free() -> None:
    desk = Desk("a", "b")
    link = desk.link(1, "a", "b", credit=2)
    dead = desk.link(2, "a", credit=1)
    desk.submit("a", b"w")
    desk.submit("a", b"suspect")
    desk.sent()
    desk.gone(dead, 0)
    desk.sent()

    Upkeep(desk.router).purge("a", 99)
    desk.submit("b", b"x")

    assert desk.router.links[link].reserved_by is None
    assert desk.sent() == [(1, [b"x"])]


def test_a_purge_makes_room_and_lets_a_closed_queue_go() -> None:
    desk = Desk("a", "b", limits=Limits(max_messages=1))
    desk.submit("a", b"x", b"y")
    desk.submit("b", b"z")
    desk.router.close_queue("b")
    upkeep = Upkeep(desk.router)

    assert (upkeep.purge("a", 99), upkeep.purge("b", 99)) == (1, 1)

    assert desk.router.take_answers() == [(1, 2, 1, 3)]
    assert list(desk.router.queues) == ["a"]


# Dead letters


def test_dead_letters_are_listed_and_found() -> None:
    desk = desk_with_dead(b"x", b"y")
    upkeep = Upkeep(desk.router)

    assert letters(upkeep) == letters(upkeep, "a") == [1, 2]
    assert letters(upkeep, "b") == []
    assert letter_of(upkeep, 2).body == b"y"
    assert upkeep.find_dead(MessageId(7)) is None


def test_a_replayed_message_starts_again_under_its_id() -> None:
    desk = desk_with_dead(b"x")
    upkeep = Upkeep(desk.router)

    upkeep.replay(letter_of(upkeep, 1), None, now=20.0)
    desk.link(1, "a", credit=1)
    ((_, run),) = desk.router.deliveries(0.0)

    assert (run.first_id, run.attempts, run.at, run.payload[4:]) == (1, 0, 20.0, b"x")
    assert letters(upkeep) == []


def test_a_message_is_kept_again_before_its_dead_letter_goes() -> None:
    desk = desk_with_dead(b"x", keeping=DURABLE)
    upkeep = Upkeep(desk.router)

    upkeep.replay(letter_of(upkeep, 1), "b", now=20.0)

    stored, gone = desk.router.take_facts()
    assert isinstance(stored, Stored)
    assert (stored.queue, stored.first_id, stored.is_kept) == ("b", 1, True)
    assert gone == DeadGone((1,))
    assert desk.router.queues["b"].ready_count == 1


def test_a_replay_needs_a_queue_with_room() -> None:
    desk = desk_with_dead(b"x")
    desk.open("b", Limits(max_messages=1))
    desk.submit("b", b"y")
    upkeep = Upkeep(desk.router)

    with pytest.raises(UnknownTargetError):
        upkeep.replay(letter_of(upkeep, 1), "c", now=20.0)
    with pytest.raises(QueueFullError):
        upkeep.replay(letter_of(upkeep, 1), "b", now=20.0)
    desk.router.close_queue("b")
    with pytest.raises(UnknownTargetError):
        upkeep.replay(letter_of(upkeep, 1), "b", now=20.0)

    assert letters(upkeep) == [1]


def test_purged_dead_letters_are_forgotten_once() -> None:
    desk = desk_with_dead(b"x", b"y", keeping=DURABLE)
    upkeep = Upkeep(desk.router)
    first = letter_of(upkeep, 1)

    assert upkeep.purge_dead([first]) == 1
    assert upkeep.purge_dead([first]) == 0
    assert upkeep.purge_dead(upkeep.dead_letters()) == 1

    assert desk.router.take_facts() == [DeadGone((1,)), DeadGone((2,))]


def test_of_dead_letters_in_memory_no_journal_is_told() -> None:
    desk = desk_with_dead(b"x")
    upkeep = Upkeep(desk.router)

    assert upkeep.purge_dead(upkeep.dead_letters("a")) == 1

    assert desk.router.take_facts() == []


@pytest.mark.parametrize("is_replayed", [True, False])
def test_a_closed_queue_goes_with_its_last_dead_letter(
    is_replayed: bool,  # noqa: FBT001  (pytest passes it by name)
) -> None:
    desk = desk_with_dead(b"x")
    desk.router.close_queue("a")
    upkeep = Upkeep(desk.router)

    if is_replayed:
        upkeep.replay(letter_of(upkeep, 1), "b", now=20.0)
    else:
        upkeep.purge_dead(upkeep.dead_letters())

    assert list(desk.router.queues) == ["b"]


# The start


def row_of(
    number: int,
    first_id: int,
    *shares: Share,
    count: int = 1,
    queue: str = "a",
    words: OptionWords | None = None,
) -> StoredRow:
    bodies = [b"%d" % (first_id + n) for n in range(count)]
    options = pack_options(**(words or {}))
    payload = pack_bodies(bodies)
    stored = Stored(number, queue, first_id, count, options, payload, 0.0)
    return StoredRow(stored, list(shares) or [Share(first_id, count)])


def dead_one(number: int, queue: str = "a") -> DeadLetter:
    return DeadLetter(
        id=MessageId(number),
        queue=queue,
        body=b"",
        options=b"",
        attempts=1,
        crashes=0,
        reason=DeadReason.ATTEMPTS,
        errors=(),
        accepted_at=0.0,
        died_at=1.0,
        is_kept=True,
    )


def recover(
    desk: Desk, *rows: StoredRow, now: float = 100.0, **more: object
) -> Recovery:
    recovered = Recovered(rows=rows, next_id=50, next_row=60, **more)  # type: ignore[arg-type]
    return Upkeep(desk.router).recover(recovered, now)


def bodies(desk: Desk, credit: int = 99) -> list[bytes]:
    desk.link(9, "a", credit=credit)
    return [body for _, sent in desk.sent() for body in sent]


def test_what_a_journal_kept_is_queued_again_in_the_order_of_its_acceptance() -> None:
    desk = Desk("a", keeping=DURABLE)
    apart = row_of(3, 2, Share(2, 1, attempts=1, errors=({"attempt": 1},)))
    whole = row_of(1, 1, Share(1, 1), Share(3, 1), count=3)

    found = recover(desk, whole, row_of(2, 4), apart)

    queue = desk.router.queues["a"]
    assert found == Recovery(queued=4)
    assert (queue.count, queue.accepted) == (4, 4)
    assert bodies(desk) == [b"1", b"2", b"3", b"4"]


def test_ids_and_rows_go_on_after_those_of_the_journal() -> None:
    desk = Desk("a", keeping=DURABLE)
    recover(desk)

    assert desk.submit("a", b"x") == [(1, 1, 1, None)]

    assert desk.write() == [(1, 1, 1, 50)]
    assert desk.router.ledger.next_row == 61


def test_what_is_left_of_a_row_keeps_its_bytes_until_the_last_of_it() -> None:
    desk = Desk("a", keeping=DURABLE)
    recover(desk, row_of(1, 1, Share(1, 1), Share(3, 1), count=3))
    link = desk.link(1, "a", credit=9)
    desk.sent()
    desk.router.take_facts()

    desk.router.ack(link, 1, 1, 1)
    desk.router.ack(link, 3, 1, 1)

    assert desk.router.take_facts() == [Gone(1, 1, 1), RowGone(1)]
    assert desk.router.queues["a"].bytes == 0


def test_a_message_that_a_mule_had_has_spent_that_attempt() -> None:
    desk = Desk("a", keeping=DURABLE)

    found = recover(
        desk,
        row_of(1, 1, Share(1, 1, attempts=1)),
        row_of(2, 2, Share(2, 1, attempts=2, errors=({"attempt": 1},))),
        row_of(3, 3, Share(3, 1, attempts=1, errors=({"attempt": 1},))),
    )

    assert found == Recovery(queued=3, interrupted=2)
    first, second, third = desk.router.queues["a"].ready
    assert [run.attempts for run in (first, second, third)] == [1, 2, 1]
    assert [error.get("type") for error in second.errors] == [None, "MasterDied"]
    assert second.errors[-1]["attempt"] == 2


def test_a_message_whose_last_attempt_a_master_took_with_it_is_dead() -> None:
    policy = DeliveryPolicy(max_attempts=2)
    desk = Desk("a", keeping=DURABLE, policy=policy)

    found = recover(desk, row_of(1, 1, Share(1, 2, attempts=2), count=2))

    assert found == Recovery(dead=2, interrupted=2)
    assert [(one.id, one.body) for one in desk.router.queues["a"].dead] == [
        (1, b"1"), (2, b"2"),
    ]  # fmt: skip
    kinds = [type(fact) for fact in desk.router.take_facts()]
    assert kinds == [Buried, Gone, Buried, RowGone]


def test_what_expired_in_the_meantime_is_dropped() -> None:
    desk = Desk("a", keeping=DURABLE)

    found = recover(desk, row_of(1, 1, words={"ttl": 9.0}), now=9.0)

    assert found == Recovery(expired=1)
    assert desk.router.take_facts() == [RowGone(1)]
    assert desk.router.queues["a"].expired == 1


def test_what_waits_for_its_time_goes_on_waiting() -> None:
    desk = Desk("a", keeping=DURABLE)

    recover(
        desk,
        row_of(1, 1, Share(1, 1, due_at=150.0), words={"ttl": 200.0}),
        row_of(2, 2, Share(2, 1, due_at=99.0)),
    )

    assert desk.router.take_alarms() == {
        (AlarmKind.DUE, 1): 150.0,
        (AlarmKind.EXPIRY, 1): 200.0,
    }
    assert bodies(desk) == [b"2"]


def test_a_suspect_is_still_one() -> None:
    desk = Desk("a", keeping=DURABLE)

    recover(
        desk, row_of(1, 1, Share(1, 1, 1, 1, errors=({"attempt": 1},))), row_of(2, 2)
    )

    assert bodies(desk) == [b"1"]


def test_a_retry_holds_its_key_also_over_a_restart() -> None:
    desk = Desk("a", keeping=DURABLE)
    retried = Share(2, 1, attempts=1, due_at=150.0, errors=({"attempt": 1},))

    recover(
        desk,
        row_of(1, 1, words={"key": "k"}),
        row_of(2, 2, retried, words={"key": "k"}),
        row_of(3, 3, words={"key": "other"}),
    )

    assert bodies(desk, credit=1) == [b"3"]
    desk.due(2)
    desk.grant(next(iter(desk.router.links)), 9)
    assert desk.sent() == [(9, [b"2"])]
    desk.router.ack(next(iter(desk.router.links)), 2, 1, 2)
    assert desk.sent() == [(9, [b"1"])]


def test_dead_letters_come_back_before_those_that_die_at_the_start() -> None:
    policy = DeliveryPolicy(max_attempts=1)
    desk = Desk("a", keeping=Keeping(Durability.DISK, 2), policy=policy)

    recover(
        desk, row_of(1, 3, Share(3, 1, attempts=1)), dead=[dead_one(1), dead_one(2)]
    )

    assert letters(Upkeep(desk.router)) == [2, 3]
    assert DeadGone((1,)) in desk.router.take_facts()


def test_more_dead_letters_than_there_may_be_now_leave_at_the_start() -> None:
    desk = Desk("a", keeping=Keeping(Durability.DISK, 0))

    recover(desk, dead=[dead_one(1)])

    assert desk.router.take_facts() == [DeadGone((1,))]


def test_ids_of_senders_are_known_over_a_restart() -> None:
    desk = Desk("a", keeping=DURABLE)

    recover(desk, seen=[SeenId("a", "m", 7, 90.0), SeenId("gone", "m", 8, 90.0)])

    assert desk.submit("a", b"x", message_id="m", now=100.0) == [(1, 1, 1, 7)]
    assert list(desk.router.queues) == ["a"]


def test_a_paused_queue_is_still_paused() -> None:
    desk = Desk("a", keeping=DURABLE)

    recover(desk, row_of(1, 1), paused=frozenset({"a", "gone"}))

    assert bodies(desk) == []
    Upkeep(desk.router).resume("a")
    assert desk.sent() == [(9, [b"1"])]


def test_messages_of_a_queue_that_is_no_more_wait_for_its_return() -> None:
    desk = Desk("a", keeping=DURABLE)

    recover(desk, row_of(1, 1, queue="b"), row_of(2, 2, queue="c", words={"ttl": 1.0}))

    queue = desk.router.queues["b"]
    assert (queue.is_closed, queue.count, list(desk.router.queues)) == (
        True,
        1,
        ["a", "b"],
    )
    desk.open("b")
    desk.link(1, "b", credit=1)
    assert desk.sent() == [(1, [b"1"])]


def test_nothing_is_given_up_by_the_rules_of_a_queue_that_nobody_knows() -> None:
    desk = Desk("a", keeping=DURABLE)
    tried = Share(1, 1, attempts=60, errors=({"attempt": 60},))

    found = recover(
        desk,
        row_of(1, 1, tried, queue="b"),
        dead=[dead_one(number, "b") for number in range(100, 10_200)],
    )

    assert (found.queued, found.dead) == (1, 0)
    assert len(desk.router.queues["b"].dead) == 10_100
    assert desk.router.take_facts() == []


def test_queues_of_functions_have_their_rules_before_a_mule_opens_them() -> None:
    desk = Desk("a", keeping=DURABLE)
    spent = Share(1, 1, attempts=7, errors=({"attempt": 7},))
    tried = Share(2, 1, attempts=6, errors=({"attempt": 6},))
    rows = [
        row_of(1, 1, spent, queue="func:m:f"),
        row_of(2, 2, tried, queue="func:m:f"),
    ]
    rules = DeliveryPolicy(max_attempts=7), DURABLE

    found = Upkeep(desk.router).recover(Recovered(rows=rows), 100.0, rules)

    assert (found.queued, found.dead) == (1, 1)


def test_a_queue_that_is_opened_later_is_paused_and_knows_its_ids() -> None:
    desk = Desk("a", keeping=DURABLE)
    recover(desk, paused=frozenset({"b"}), seen=[SeenId("b", "m", 7, 90.0)])

    desk.open("b")

    assert desk.router.queues["b"].is_paused
    assert desk.submit("b", b"x", message_id="m", now=100.0) == [(1, 1, 1, 7)]
    assert desk.router.absent == {}


def test_a_second_start_finds_what_the_first_one_did() -> None:
    first, second = Desk("a", keeping=DURABLE), Desk("a", keeping=DURABLE)
    rows = [row_of(1, 1, Share(1, 1, attempts=1)), row_of(2, 2)]

    found = recover(first, *rows)

    assert recover(second, *rows) == found


def test_a_purge_drops_so_many_batches_at_a_time() -> None:
    desk = Desk("a")
    for _ in range(5):
        desk.submit("a", b"x", b"y")
    upkeep = Upkeep(desk.router)

    assert [upkeep.purge("a", 2) for _ in range(4)] == [4, 4, 2, 0]
