from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pymule.sansio.link import Link, LinkId
from pymule.sansio.run import Run
from tests.sansio import routing
from tests.sansio.routing import queue_of

QUEUE: Final = queue_of()


def run_of(first_id: int, count: int, attempts: int = 0) -> Run:
    run = routing.run_of(count, first_id, queue=QUEUE)
    run.attempts = attempts
    return run


def link_with(*runs: Run) -> Link:
    link = Link(LinkId(1), frozenset({"a"}))
    for run in runs:
        link.lease(run)
    return link


def ranges(runs: list[Run]) -> list[tuple[int, int]]:
    return [(run.first_id, run.count) for run in runs]


def test_leases_are_kept_by_id() -> None:
    link = link_with(run_of(10, 2), run_of(30, 1), run_of(1, 4), run_of(20, 5))

    assert ranges(link.leases) == [(1, 4), (10, 2), (20, 5), (30, 1)]
    assert link.leased == 12


@pytest.mark.parametrize(
    ("first_id", "count", "released", "kept"),
    [
        (10, 5, [(10, 5)], [(20, 5), (30, 5)]),
        (11, 2, [(11, 2)], [(10, 1), (13, 2), (20, 5), (30, 5)]),
        (10, 1, [(10, 1)], [(11, 4), (20, 5), (30, 5)]),
        (14, 1, [(14, 1)], [(10, 4), (20, 5), (30, 5)]),
        (13, 19, [(13, 2), (20, 5), (30, 2)], [(10, 3), (32, 3)]),
        (1, 999, [(10, 5), (20, 5), (30, 5)], []),
        (1, 9, [], [(10, 5), (20, 5), (30, 5)]),
        (15, 5, [], [(10, 5), (20, 5), (30, 5)]),
        (35, 9, [], [(10, 5), (20, 5), (30, 5)]),
        (12, 0, [], [(10, 5), (20, 5), (30, 5)]),
    ],
)
def test_a_range_takes_what_it_covers_and_leaves_the_rest(
    first_id: int,
    count: int,
    released: list[tuple[int, int]],
    kept: list[tuple[int, int]],
) -> None:
    link = link_with(run_of(10, 5), run_of(20, 5), run_of(30, 5))

    assert ranges(link.release(first_id, count, 1)) == released
    assert ranges(link.leases) == kept


def test_only_the_attempt_that_is_leased_counts() -> None:
    link = link_with(run_of(1, 1), run_of(2, 1, attempts=1), run_of(3, 1))

    assert ranges(link.release(1, 3, 2)) == [(2, 1)]
    assert ranges(link.leases) == [(1, 1), (3, 1)]


def test_any_attempt_counts_when_none_is_named() -> None:
    link = link_with(run_of(1, 1), run_of(2, 1, attempts=1))

    assert ranges(link.release(1, 2, None)) == [(1, 1), (2, 1)]


def test_nothing_is_released_from_an_empty_link() -> None:
    assert link_with().release(1, 9, None) == []


@settings(deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5)), max_size=6),
    first_id=st.integers(1, 40),
    count=st.integers(0, 40),
)
def test_released_and_kept_are_what_was_leased(
    sizes: list[tuple[int, int]], first_id: int, count: int
) -> None:
    link, next_id = link_with(), 1
    for gap, size in sizes:
        link.lease(run_of(next_id + gap, size))
        next_id += gap + size
    before = {n for run in link.leases for n in range(run.first_id, run.end_id)}

    released = link.release(first_id, count, 1)

    taken = {n for run in released for n in range(run.first_id, run.end_id)}
    kept = [n for run in link.leases for n in range(run.first_id, run.end_id)]
    assert taken == before & set(range(first_id, first_id + count))
    assert kept == sorted(before - taken)


def test_a_link_takes_unless_it_drains_or_holds_a_suspect() -> None:
    link = link_with()
    assert link.takes_from(QUEUE)

    link.is_solo = True
    assert not link.takes_from(QUEUE)
    link.is_solo, link.is_draining = False, True

    assert not link.takes_from(QUEUE)


def test_a_link_that_is_kept_free_takes_from_one_queue_when_it_is_free() -> None:
    other = queue_of()
    link = link_with(run_of(1, 1))

    link.reserved_by = QUEUE

    assert not link.takes_from(QUEUE)
    link.release(1, 1, 1)
    assert link.takes_from(QUEUE)
    assert not link.takes_from(other)
