"""What the places do together is in test_router.py; here is what only they see."""

import pytest

from pymule.sansio.alarms import AlarmKind
from pymule.sansio.delivery import Bury, DeadReason
from pymule.sansio.ledger import Ledger
from pymule.sansio.places import Places
from pymule.sansio.queue import Queue
from pymule.sansio.record import Buried, DeadGone, RowGone
from pymule.sansio.run import Place, Run
from tests.sansio.routing import parked, queue_of


@pytest.fixture
def places() -> Places:
    return Places(Ledger())


@pytest.fixture
def queue(places: Places) -> Queue:
    return queue_of(ledger=places.ledger)


def accepted(queue: Queue, count: int = 1, **words: str | float) -> Run:
    waiting = parked(*[b"x"] * count, **words)  # type: ignore[arg-type]
    queue.accepted += count
    return queue.accept(waiting, count, queue.accepted - count + 1)


# In


def test_a_message_is_ready_at_once_or_when_its_time_comes(
    places: Places, queue: Queue
) -> None:
    now, later = accepted(queue), accepted(queue, 2)

    places.enter(now)
    places.enter(later, 5.0)

    assert places.alarms.take() == {(AlarmKind.DUE, 2): 5.0}
    assert (now.place, later.place) == (Place.READY, Place.DELAYED)
    assert (queue.delayed_count, queue.ready_count) == (2, 1)
    places.due(2)
    assert (later.place, queue.delayed_count, queue.ready_count) == (Place.READY, 0, 3)
    assert queue.redelivered == 0


def test_a_message_of_a_key_takes_its_turn_when_its_time_has_come(
    places: Places, queue: Queue
) -> None:
    later, first = accepted(queue, key="k"), accepted(queue, key="k")
    places.enter(later, 5.0)
    places.enter(first)

    places.due(1)

    assert (first.place, later.place) == (Place.READY, Place.BLOCKED)


def test_a_retry_of_a_key_keeps_its_turn(places: Places, queue: Queue) -> None:
    retried, next_one = accepted(queue, key="k"), accepted(queue, key="k")
    places.enter(retried)
    places.enter(next_one)
    queue.ready.take(1)
    retried.failed({})
    places.put_off(retried, 5.0)

    places.due(1)

    assert (retried.place, next_one.place) == (Place.READY, Place.BLOCKED)
    assert queue.redelivered == 1


def test_suspects_stand_by_age(places: Places, queue: Queue) -> None:
    runs = [accepted(queue) for _ in range(3)]
    for run in runs:
        run.crashes = 1

    places.enter(runs[1])
    places.requeue(runs[2])
    places.requeue(runs[0])

    assert list(queue.suspects) == runs


# Out


def test_the_next_of_a_key_comes_when_one_is_settled(
    places: Places, queue: Queue
) -> None:
    places.enter(accepted(queue, 2, key="k", ttl=9.0))
    assert places.alarms.take() == {
        (AlarmKind.EXPIRY, 1): 9.0,
        (AlarmKind.EXPIRY, 2): 9.0,
    }
    run, _ = queue.ready.take(9)

    places.settle(run)

    assert (queue.count, [run.first_id for run in queue.ready]) == (1, [2])


def test_what_did_not_have_the_turn_of_its_key_gives_it_to_nobody(
    places: Places, queue: Queue
) -> None:
    for _ in range(3):
        places.enter(accepted(queue, key="k"))

    places.remove(next(iter(queue.keys)))

    assert [run.first_id for run in queue.ready] == [1]
    assert [run.first_id for run in queue.keys] == [3]


@pytest.mark.parametrize(
    "place", [Place.READY, Place.SUSPECT, Place.DELAYED, Place.BLOCKED]
)
def test_a_message_is_removed_from_wherever_it_waits(
    places: Places, queue: Queue, place: Place
) -> None:
    if place is Place.BLOCKED:
        places.enter(accepted(queue, key="k", ttl=9.0))
    run = accepted(queue, key="k", ttl=9.0)
    run.crashes = place is Place.SUSPECT
    places.enter(run, 5.0 if place is Place.DELAYED else None)
    places.alarms.take()
    assert run.place is place

    places.remove(run)

    alarms = [AlarmKind.EXPIRY, AlarmKind.DUE][: 1 + (place is Place.DELAYED)]
    assert places.alarms.take() == {(kind, run.first_id): None for kind in alarms}
    assert (queue.ready_count, len(queue.suspects)) == (queue.count, 0)
    assert (queue.delayed_count, queue.blocked) == (0, 0)


def test_an_expired_message_is_counted_and_its_queue_named(
    places: Places, queue: Queue
) -> None:
    places.enter(accepted(queue, 2, ttl=9.0))

    assert places.expired(1) is queue
    assert places.expired(1) is None

    assert (queue.expired, queue.count, len(queue.ready)) == (2, 0, 0)


def test_the_time_of_what_is_not_there_any_more_may_come(places: Places) -> None:
    places.due(7)

    assert places.expired(7) is None


# Dead


def test_a_dead_letter_of_a_journal_is_told_before_the_message_is_gone(
    places: Places, queue: Queue
) -> None:
    queue.dead.max_messages = 1
    for _ in range(2):
        run = accepted(queue)
        places.ledger.store(run, due_at=None, is_synced=True)
        places.bury(run, Bury(DeadReason.REJECTED), 3.0)

    (letter,) = queue.dead
    facts = [f for f in places.ledger.take() if not hasattr(f, "payload")]
    assert facts[2:] == [Buried(letter), DeadGone((1,)), RowGone(2)]
    assert (letter.is_kept, letter.died_at, queue.count) == (True, 3.0, 0)


def test_a_dead_letter_in_memory_is_told_to_nobody(
    places: Places, queue: Queue
) -> None:
    places.bury(accepted(queue), Bury(DeadReason.REJECTED), 3.0)

    (letter,) = queue.dead
    assert not letter.is_kept
    assert places.ledger.take() == []
