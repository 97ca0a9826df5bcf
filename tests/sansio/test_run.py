import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pymule.sansio.batch import Batch
from pymule.sansio.delivery import MAX_ERRORS
from pymule.sansio.run import Hands, Run
from tests.sansio.routing import parked, queue_of, run_of


def leased(count: int, start: int = 0) -> Run:
    run = run_of(count)
    run.start = start
    return run


def test_a_part_of_a_run_has_its_history() -> None:
    run = leased(5, start=10)
    run.attempts, run.crashes, run.options, run.at = 3, 1, b"{}", 7.0
    run.errors, run.lane_index, run.expires_at = ({"text": "no"},), 2, 9.0

    part = run.cut(2, 2)

    assert (part.first, part.count, part.first_id, part.end_id) == (2, 2, 3, 5)
    assert (part.attempts, part.crashes, part.options, part.at) == (3, 1, b"{}", 7.0)
    assert (part.errors, part.lane_index, part.start) == (({"text": "no"},), 2, 12)
    assert part.expires_at == 9.0


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


def test_each_failure_is_kept_with_its_attempt_and_only_the_last_traceback() -> None:
    run = run_of()

    run.failed({"type": "A", "traceback": "long"})
    run.failed({"type": "B", "traceback": "longer"})

    assert run.attempts == 2
    assert run.errors == (
        {"type": "A", "attempt": 1},
        {"type": "B", "traceback": "longer", "attempt": 2},
    )


def test_of_too_many_failures_the_oldest_are_forgotten() -> None:
    run = run_of()

    for _ in range(MAX_ERRORS + 3):
        run.failed({})

    assert [error["attempt"] for error in run.errors] == list(range(4, MAX_ERRORS + 4))


def test_a_sender_may_ask_for_rules_of_its_own() -> None:
    queue = queue_of()

    assert run_of(queue=queue).policy is queue.policy
    assert run_of(queue=queue, max_attempts=2).policy.max_attempts == 2


def test_what_waits_is_taken_from_its_front() -> None:
    waiting = parked(b"a", b"b", b"c")

    rest = waiting.without(1)

    assert waiting.first_one().count == 1
    assert (rest.sequence, rest.first, rest.count) == (2, 1, 2)
