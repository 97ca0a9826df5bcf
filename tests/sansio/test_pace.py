import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymule.sansio.pace import DEAR, MUCH, Pace

WORK = st.tuples(st.integers(0, 5), st.floats(0.001, 0.05))


def test_cheap_work_is_not_held_back() -> None:
    pace: Pace[str] = Pace()

    rests = [pace.worked("a", turn, 1.0, 0) for turn in (1, 5, 9)]

    assert rests == [0, 0, 0]


def test_the_first_question_is_answered_at_once() -> None:
    assert Pace[str]().worked("a", 100, 1.0, 0, DEAR) == 0


def test_alone_a_flood_is_not_held_back() -> None:
    pace: Pace[str] = Pace()

    assert [pace.worked("a", turn, 1.0, 0, MUCH) for turn in (1, 2, 3)] == [0, 0, 0]


def test_alone_dear_work_leaves_half_of_the_time_free() -> None:
    pace: Pace[str] = Pace()

    rests = [pace.worked("a", turn, 1.0, 100, DEAR) for turn in (1, 2, 3)]

    assert rests == [0, 1, 3]


def test_beside_others_dear_work_takes_a_twentieth() -> None:
    pace: Pace[str] = Pace()
    pace.worked("a", 1, 0.01, 0, DEAR)

    assert pace.worked("a", 3, 0.01, 100, DEAR) == pytest.approx(0.19)


def test_beside_others_much_work_takes_a_half() -> None:
    pace: Pace[str] = Pace()
    pace.worked("a", 1, 0.01, 0, MUCH)

    assert pace.worked("a", 3, 0.01, 100, MUCH) == pytest.approx(0.01)


def test_the_own_cheap_work_is_not_that_of_others() -> None:
    pace: Pace[str] = Pace()
    pace.worked("a", 1, 0.01, 0, DEAR)
    pace.worked("a", 2, 0.01, 0)

    assert pace.worked("a", 3, 0.01, 0, MUCH) == 0


def test_others_are_expected_again_for_ten_seconds() -> None:
    pace: Pace[str] = Pace()
    pace.worked("a", 1, 0.01, 0, MUCH)

    pace.worked("a", 3, 0.01, 100, MUCH)
    soon = pace.worked("a", 4, 0.01, 109, MUCH)
    later = pace.worked("a", 5, 0.01, 110, MUCH)

    assert (soon > 0, later) == (True, 0)


def test_those_who_rest_share_the_twentieth() -> None:
    pace: Pace[str] = Pace()
    for turn, key in enumerate("abc"):
        pace.worked(key, turn, 0.01, 0, DEAR)

    rests = [
        pace.worked(key, 10 * turn, 0.01, 100, DEAR)
        for turn, key in enumerate("abc", 1)
    ]

    assert rests == pytest.approx([0.19, 0.38, 0.57])


def test_the_work_of_one_adds_up_whatever_comes_in_between() -> None:
    pace: Pace[str] = Pace()
    pace.worked("a", 1, 0.01, 0, DEAR)

    rests = [pace.worked("a", 3 * n, 0.01, 100, DEAR) for n in (1, 2, 3)]

    assert rests == pytest.approx([0.19, 0.39, 0.59])


def test_who_does_little_waits_little_whatever_others_do() -> None:
    pace: Pace[str] = Pace()
    for turn, key in enumerate("ab"):
        pace.worked(key, turn, 0.01, 0, DEAR)
    pace.worked("a", 10, 5.0, 100, DEAR)

    assert pace.worked("b", 20, 0.001, 100, DEAR) == pytest.approx(0.038)


def test_a_rest_can_be_asked_for() -> None:
    pace: Pace[str] = Pace()
    pace.worked("a", 1, 0.01, 0, DEAR)
    pace.worked("a", 3, 0.01, 100, DEAR)

    assert pace.rest_of("a", 100.04) == pytest.approx(0.15)
    assert (pace.rest_of("a", 101), pace.rest_of("b", 100)) == (0, 0)


def test_a_rest_is_never_longer_than_a_minute() -> None:
    pace: Pace[str] = Pace()
    pace.worked("a", 1, 50.0, 0, DEAR)

    assert pace.worked("a", 3, 50.0, 0, DEAR) == 60.0


def test_only_so_many_are_remembered() -> None:
    pace: Pace[int] = Pace()
    for key in range(1025):
        pace.worked(key, key, 0.01, 0, DEAR)

    assert pace.worked(0, 5000, 0.01, 0, DEAR) == 0
    assert pace.worked(1024, 6000, 0.01, 0, DEAR) > 0


@given(work=st.lists(WORK, max_size=200))
def test_each_rests_nineteen_times_as_long_as_it_worked(
    work: list[tuple[int, float]],
) -> None:
    pace: Pace[int] = Pace()
    free_at, done = dict.fromkeys(range(6), 0.0), dict.fromkeys(range(6), 0.0)
    for key in free_at:
        pace.worked(key, 0, 0.0, 0.0, DEAR)
    for turn, (key, seconds) in enumerate(work, 1):
        now = free_at[key]
        free_at[key] += pace.worked(key, 10 * turn, seconds, now, DEAR)
        done[key] += seconds

    for key, at in free_at.items():
        assert at >= 19 * done[key] - 1e-6
