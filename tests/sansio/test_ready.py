from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pymule.sansio.ready import MAX_BYPASS, ReadyLine
from pymule.sansio.run import Place, Run
from tests.sansio.routing import run_of

ENOUGH = 1_000


def line_of(*runs: Run) -> ReadyLine:
    line = ReadyLine()
    for run in runs:
        line.append(run)
    return line


def taken(line: ReadyLine, most: int = ENOUGH) -> Iterator[int]:
    while line:
        yield line.take(most)[0].first_id


def ids(line: ReadyLine) -> list[int]:
    return [run.first_id for run in line]


# Order


def test_within_a_priority_the_first_in_is_the_first_out() -> None:
    assert list(taken(line_of(run_of(1, 3), run_of(1, 1), run_of(1, 2)))) == [3, 1, 2]


def test_a_higher_priority_comes_first() -> None:
    line = line_of(run_of(1, 1), run_of(1, 2, priority=9), run_of(1, 3, priority=4))

    assert ids(line) == [2, 3, 1]
    assert list(taken(line)) == [2, 3, 1]


def test_a_lower_priority_has_its_turn_after_so_many_of_a_higher_one() -> None:
    line = line_of(run_of(1, 1), run_of(1, 2))
    for number in range(10, 10 + 3 * MAX_BYPASS):
        line.append(run_of(1, number, priority=5))

    order = list(taken(line))

    assert order.index(1) == MAX_BYPASS
    assert order.index(2) == 2 * MAX_BYPASS + 1


@settings(deadline=None)
@given(
    priorities=st.lists(st.integers(0, 9), max_size=150),
    more=st.lists(st.integers(0, 9), max_size=50),
)
def test_no_run_is_passed_over_too_often(
    priorities: list[int], more: list[int]
) -> None:
    line = line_of(*(run_of(1, n + 1, priority=p) for n, p in enumerate(priorities)))
    waits = dict.fromkeys(range(10), 0)

    while line:
        fronts = {run.asked.priority for run in line.fronts()}
        run, _ = line.take(ENOUGH)
        if more:
            line.append(run_of(1, 1_000 + len(more), priority=more.pop()))
        for priority in fronts:
            waits[priority] += run.asked.priority > priority
        waits[run.asked.priority] = 0
        assert max(waits.values()) <= MAX_BYPASS


# Parts


def test_a_run_is_taken_as_it_is_when_the_credit_is_enough() -> None:
    run = run_of(3)
    line = line_of(run)

    assert line.take(3) == (run, None)
    assert len(line) == 0


def test_of_a_run_only_as_much_is_taken_as_there_is_credit() -> None:
    line = line_of(run_of(3), run_of(1, 9))

    part, rest = line.take(2)

    assert (part.first_id, part.count) == (1, 2)
    assert rest is not None
    assert (rest.first_id, rest.count, rest.place) == (3, 1, Place.READY)
    assert ids(line) == [3, 9]
    assert list(taken(line)) == [3, 9]


# What comes back


@settings(deadline=None)
@given(order=st.permutations(range(12)))
def test_what_comes_back_takes_its_place_by_age(order: list[int]) -> None:
    line, run = ReadyLine(), run_of(12)

    for index in order:
        line.put_back(run.cut(index, 1))

    assert ids(line) == list(range(1, 13))
    assert list(taken(line)) == list(range(1, 13))


def test_what_comes_back_does_not_walk_through_a_long_queue() -> None:
    run = run_of(200)
    line = line_of(*(run.cut(index, 1) for index in range(199)))

    line.put_back(run.cut(199, 1))

    assert ids(line)[64] == 200


# What leaves by another way


def test_what_left_is_not_taken_and_not_shown() -> None:
    runs = [run_of(1, n, priority=n % 2) for n in range(1, 7)]
    line = line_of(*runs)

    for run in (runs[0], runs[2], runs[4], runs[3]):
        line.discard(run)

    assert len(line) == 2
    assert ids(line) == [2, 6]
    assert [run.first_id for run in line.fronts()] == [2]
    assert list(taken(line)) == [2, 6]


def test_a_level_of_which_all_left_is_passed_over() -> None:
    high, low = run_of(1, 1, priority=9), run_of(1, 2)
    line = line_of(high, low)

    line.discard(high)

    assert list(taken(line)) == [2]


@pytest.mark.parametrize("kept", [0, 1])
def test_entries_of_what_left_do_not_pile_up(kept: int) -> None:
    line = line_of(*(run_of(1, n, priority=3) for n in range(1, kept + 1)))

    for number in range(500):
        run = run_of(1, 1_000 + number, priority=number % 2 * 3)
        line.append(run)
        line.discard(run)

    assert sum(map(len, line._levels.values())) <= 64 + 2 * kept
    assert len(list(taken(line))) == kept


@settings(deadline=None)
@given(data=st.data())
def test_the_line_is_what_a_list_would_be(data: st.DataObject) -> None:
    line, model, next_id = ReadyLine(), list[Run](), 1
    for _ in range(data.draw(st.integers(1, 60))):
        match data.draw(st.sampled_from(["append", "append", "take", "discard"])):
            case "append":
                run = run_of(1, next_id, priority=data.draw(st.integers(0, 2)))
                line.append(run)
                model.append(run)
                next_id += 1
            case "take" if model:
                run, _ = line.take(1)
                older = [r for r in model if r.asked.priority == run.asked.priority]
                assert older[0] is run
                model.remove(run)
            case "discard" if model:
                run = data.draw(st.sampled_from(model))
                line.discard(run)
                model.remove(run)
        assert len(line) == len(model)
        assert sorted(ids(line)) == [run.first_id for run in model]


def test_nobody_is_passed_over_for_what_has_left() -> None:
    line = ReadyLine()
    line.append(run_of(1))
    served = []
    for _ in range(MAX_BYPASS):
        for priority in range(2, 10):
            gone = run_of(1, priority=priority)
            line.append(gone)
            line.discard(gone)
        line.append(run_of(1, priority=1))
        run, _ = line.take(9)
        served.append(run.asked.priority)

    assert served == [1] * MAX_BYPASS
