from pymule.sansio.ledger import Ledger
from pymule.sansio.queue import Keeping, Limits, Queue
from pymule.sansio.record import Durability, Gone, Stored
from pymule.sansio.run import BATCH_OVERHEAD_BYTES, Run
from tests.sansio.routing import Desk, parked, queue_of

OVERHEAD = BATCH_OVERHEAD_BYTES


def accepted(queue: Queue, *bodies: bytes) -> Run:
    return queue.accept(parked(*bodies), len(bodies), queue.count + 1)


# Room


def test_an_empty_queue_has_room_for_what_its_limits_allow() -> None:
    by_count = queue_of(Limits(max_messages=2))
    by_bytes = queue_of(Limits(max_bytes=OVERHEAD + 2 * (4 + 3)))

    assert by_count.room_for(parked(b"x", b"y", b"z")) == 2
    assert by_bytes.room_for(parked(b"abc", b"def", b"ghi")) == 2
    assert by_bytes.room_for(parked(b"abc", b"def")) == 2


def test_a_full_queue_has_no_room() -> None:
    by_count = queue_of(Limits(max_messages=1))
    by_bytes = queue_of(Limits(max_bytes=2 * OVERHEAD))
    accepted(by_count, b"x")
    accepted(by_bytes, b"x")

    assert by_count.room_for(parked(b"y")) == 0
    assert by_bytes.room_for(parked(b"y")) == 0


def test_a_tiny_batch_costs_what_it_costs_the_master() -> None:
    queue = queue_of()

    accepted(queue, b"")

    assert queue.bytes == OVERHEAD + 4


def test_room_is_for_what_is_left_of_a_batch() -> None:
    queue = queue_of(Limits(max_bytes=OVERHEAD + 5))
    rest = parked(b"longer", b"x").without(1)

    assert (rest.sequence, rest.first, rest.count) == (2, 1, 1)
    assert queue.room_for(rest) == 1
    assert queue.has_room_when_empty(rest)


def test_what_does_not_fit_into_an_empty_queue_is_known() -> None:
    queue = queue_of(Limits(max_bytes=OVERHEAD + 5))

    assert queue.has_room_when_empty(parked(b"x"))
    assert queue.has_room_when_empty(parked(b"x", b"too long"))
    assert not queue.has_room_when_empty(parked(b"too long", b"x"))


def test_a_part_that_is_accepted_keeps_only_its_own_bytes() -> None:
    queue = queue_of()

    first = queue.accept(parked(b"x" * 1000, b"y"), 1, 7)
    second = queue.accept(parked(b"x" * 1000, b"y").without(1), 1, 8)
    queue.settle(first)

    assert queue.bytes == OVERHEAD + 4 + 1
    assert second.batch.bodies(0, 1) == [b"y"]


def test_bytes_are_given_back_with_the_last_of_a_batch() -> None:
    queue = queue_of()
    run = accepted(queue, b"x", b"y")

    queue.settle(run.cut(0, 1))
    assert (queue.count, queue.bytes) == (1, OVERHEAD + 10)
    queue.settle(run.cut(1, 1))

    assert (queue.count, queue.bytes) == (0, 0)
    assert queue.is_empty


def test_a_queue_with_someone_waiting_is_not_empty() -> None:
    queue = queue_of()

    queue.waiting.append(parked(b"x"))

    assert not queue.is_empty


def test_a_message_set_apart_leaves_its_batch() -> None:
    queue = queue_of()
    run = accepted(queue, b"xx", b"y", b"zzz")
    run.attempts = 2

    apart = queue.alone(run.cut(1, 1))
    queue.settle(run.cut(0, 1))
    queue.settle(run.cut(2, 1))

    assert (apart.first_id, apart.attempts, apart.payload[4:]) == (2, 2, b"y")
    assert queue.bytes == OVERHEAD + 4 + 1


def test_a_message_set_apart_is_kept_before_it_leaves_its_row() -> None:
    ledger = Ledger()
    queue = queue_of(ledger=ledger)
    run = accepted(queue, b"x", b"y")
    ledger.store(run, due_at=None, is_synced=True)
    ledger.take()

    apart = queue.alone(run.cut(1, 1))

    kept, gone = ledger.take()
    assert isinstance(kept, Stored)
    assert (kept.row, kept.first_id, kept.is_kept) == (2, 2, True)
    assert gone == Gone(1, 2, 1)
    assert apart.batch.row == 2


# What people see


def test_nothing_that_waits_has_no_age() -> None:
    assert queue_of().oldest_at is None


def test_the_oldest_that_waits_is_known_whatever_its_priority() -> None:
    desk = Desk("a")
    queue = desk.router.queues["a"]
    desk.submit("a", b"x", now=7.0, priority=3)
    desk.submit("a", b"y", now=5.0)
    assert queue.oldest_at == 5.0

    dead = desk.link(1, "a", credit=1)
    desk.sent()
    desk.gone(dead, 0)

    assert [run.at for run in queue.suspects] == [7.0]
    assert queue.oldest_at == 5.0


def test_ready_is_neither_leased_nor_delayed_nor_blocked() -> None:
    desk = Desk("a")
    desk.link(1, "a", credit=1)
    desk.submit("a", b"leased")
    desk.sent()
    desk.submit("a", b"delayed", b"delayed", delay=5.0)
    desk.submit("a", b"ready", b"blocked", b"blocked", key="k")

    queue = desk.router.queues["a"]

    assert (queue.count, queue.leased, queue.delayed_count) == (6, 1, 2)
    assert (queue.blocked, queue.ready_count) == (2, 1)


def test_what_is_not_yet_written_is_not_ready() -> None:
    desk = Desk("a", keeping=Keeping(Durability.PROCESS))
    desk.submit("a", b"x", b"y")
    queue = desk.router.queues["a"]
    assert (queue.storing, queue.ready_count) == (2, 0)

    desk.write()

    assert (queue.storing, queue.ready_count) == (0, 2)


def test_what_waits_and_no_journal_has_is_counted() -> None:
    desk = Desk("a")
    desk.submit("a", b"x", b"y")
    desk.open("a", keeping=Keeping(Durability.PROCESS))
    desk.submit("a", b"z")
    desk.write()

    assert desk.router.queues["a"].unkept == 2


def test_what_waits_is_shown_nearly_as_it_will_be_delivered() -> None:
    desk = Desk("a")
    dead = desk.link(1, "a", credit=1)
    desk.submit("a", b"suspect")
    desk.sent()
    desk.gone(dead, 0)
    desk.submit("a", b"delayed", delay=5.0)
    desk.submit("a", b"ready", b"blocked", key="k")
    desk.submit("a", b"first", priority=1)

    waiting = desk.router.queues["a"].waiting_runs()

    bodies = [
        body for run in waiting for body in run.batch.bodies(run.first, run.count)
    ]
    assert bodies == [b"suspect", b"first", b"ready", b"blocked", b"delayed"]


def test_a_queue_follows_new_rules_from_now_on() -> None:
    queue = queue_of()
    limits, keeping = Limits(max_messages=1), Keeping(Durability.DISK, 5, 9.0)

    queue.change(limits, queue.policy, keeping)

    assert (queue.limits, queue.keeping) == (limits, keeping)
    assert (queue.dead.max_messages, queue.seen.window_s) == (5, 9.0)


def test_a_message_with_a_ttl_has_an_end_from_its_acceptance_on() -> None:
    queue = queue_of()

    run = queue.accept(parked(b"x", now=4.0, ttl=3.0), 1, 1)

    assert run.expires_at == 7.0
