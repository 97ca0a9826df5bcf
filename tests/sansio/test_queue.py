import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pymule.sansio.batch import Batch
from pymule.sansio.delivery import DeliveryPolicy
from pymule.sansio.queue import Limits, Queue
from pymule.sansio.run import BATCH_OVERHEAD_BYTES, Hands, Parked, Run

OVERHEAD = BATCH_OVERHEAD_BYTES


def queue_of(limits: Limits | None = None) -> Queue:
    return Queue("a", limits or Limits(), DeliveryPolicy())


def parked(*bodies: bytes, at: float = 0.0) -> Parked:
    return Parked(1, 1, Batch.of(bodies), 0, len(bodies), b"{}", at)


def leased(count: int, start: int = 0) -> Run:
    run = Run(queue_of(), Batch.of([b"x"] * count), 0, count, 1)
    run.start = start
    return run


def accepted(queue: Queue, *bodies: bytes, at: float = 0.0) -> Run:
    queue.accept(parked(*bodies, at=at), len(bodies), queue.accepted + 1)
    return queue.ready[-1]


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

    queue.accept(parked(b"x" * 1000, b"y"), 1, 7)
    queue.accept(parked(b"x" * 1000, b"y").without(1), 1, 8)
    queue.settle(queue.ready[0])

    assert queue.bytes == OVERHEAD + 4 + 1
    assert queue.ready[1].batch.bodies(0, 1) == [b"y"]


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


# Order


def test_nothing_that_waits_has_no_age() -> None:
    assert queue_of().oldest_at is None


def test_the_oldest_that_waits_is_known() -> None:
    queue = queue_of()
    accepted(queue, b"x", at=5.0)
    accepted(queue, b"y", at=6.0)
    suspect = queue.ready.popleft()
    suspect.crashes = 1

    queue.requeue(suspect)

    assert queue.oldest_at == 5.0
    assert list(queue.suspects) == [suspect]
    queue.suspects.clear()
    assert queue.oldest_at == 6.0


def test_ready_is_neither_leased_nor_delayed() -> None:
    queue = queue_of()
    run = accepted(queue, b"x", b"y", b"z")

    queue.leased = 1
    queue.delayed[run.first_id] = run  # type: ignore[index]

    assert queue.ready_count == 1


@settings(deadline=None)
@given(order=st.permutations(range(12)))
def test_what_comes_back_takes_its_place_by_age(order: list[int]) -> None:
    queue = queue_of()
    run = leased(12)

    for index in order:
        queue.requeue(run.cut(index, 1))

    assert [part.first_id for part in queue.ready] == list(range(1, 13))


def test_what_comes_back_does_not_walk_through_a_long_queue() -> None:
    queue = queue_of()
    run = leased(200)
    for index in range(199):
        queue.ready.append(run.cut(index, 1))

    queue.requeue(run.cut(199, 1))

    assert queue.ready[64].first_id == 200


# Runs


def test_a_part_of_a_run_has_its_history() -> None:
    run = leased(5, start=10)
    run.attempts, run.crashes, run.options, run.at = 3, 1, b"{}", 7.0
    run.error, run.lane_index = {"text": "no"}, 2

    part = run.cut(2, 2)

    assert (part.first, part.count, part.first_id, part.end_id) == (2, 2, 3, 5)
    assert (part.attempts, part.crashes, part.options, part.at) == (3, 1, b"{}", 7.0)
    assert (part.error, part.lane_index, part.start) == ({"text": "no"}, 2, 12)


def test_the_payload_of_a_part_is_a_batch_of_its_own() -> None:
    run = Run(queue_of(), Batch.of([b"a", b"bb", b"ccc"]), 0, 3, 1)

    assert run.cut(1, 2).payload == Batch.of([b"bb", b"ccc"]).payload


@pytest.mark.parametrize(
    ("hands", "untouched", "held", "done"),
    [
        (Hands(0, frozenset()), (1, 4), [], []),
        (Hands(10, frozenset()), (1, 4), [], []),
        (Hands(12, frozenset()), (3, 4), [], [(1, 2)]),
        (Hands(14, frozenset()), None, [], [(1, 4)]),
        (Hands(99, frozenset({98})), None, [], [(1, 4)]),
        (Hands(11, frozenset({10})), (2, 4), [1], []),
        (Hands(14, frozenset({11})), None, [2], [(3, 4), (1, 1)]),
        (Hands(14, frozenset({10, 13})), None, [4, 1], [(2, 3)]),
        (Hands(13, frozenset({10, 11, 12})), (4, 4), [3, 2, 1], []),
        # Not what an honest scoreboard says.
        (Hands(0, frozenset({11})), (3, 4), [2], [(1, 1)]),
        (Hands(0, frozenset({-1, 9, 14})), (1, 4), [], []),
    ],
)
def test_a_death_sorts_out_what_was_leased(
    hands: Hands,
    untouched: tuple[int, int] | None,
    held: list[int],
    done: list[tuple[int, int]],
) -> None:
    run = leased(4, start=10)

    rest, in_hand, parts = run.sort_out(hands)

    assert (rest and (rest.first_id, rest.end_id - 1)) == untouched
    assert [one.first_id for one in in_hand] == held
    assert [(part.first_id, part.end_id - 1) for part in parts] == done


@settings(deadline=None)
@given(taken=st.integers(0, 30), held=st.frozensets(st.integers(0, 30)), data=st.data())
def test_sorting_out_loses_nothing(
    taken: int, held: frozenset[int], data: st.DataObject
) -> None:
    run = leased(data.draw(st.integers(1, 10)), start=data.draw(st.integers(0, 20)))

    rest, in_hand, parts = run.sort_out(Hands(taken, held))

    found = [*in_hand, *parts, *([rest] if rest else [])]
    ids = sorted(n for part in found for n in range(part.first_id, part.end_id))
    assert ids == list(range(run.first_id, run.end_id))
    assert all(part.start in held and part.count == 1 for part in in_hand)
    positions = {
        p for part in parts for p in range(part.start, part.start + part.count)
    }
    assert not positions & held
    assert rest is None or rest.start >= taken
