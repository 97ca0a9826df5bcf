import pytest

from pymule.sansio.pace import Pace


def test_cheap_work_is_not_held_back() -> None:
    pace: Pace[str] = Pace()

    assert [pace.worked("a", n, 1.0, is_dear=False) for n in (1, 5, 9)] == [0, 0, 0]


def test_the_first_question_is_answered_at_once() -> None:
    assert Pace[str]().worked("a", 100, 1.0, is_dear=True) == 0


def test_alone_nobody_is_held_back() -> None:
    pace: Pace[str] = Pace()

    assert [pace.worked("a", n, 1.0, is_dear=True) for n in (1, 2, 3)] == [0, 0, 0]


def test_beside_others_dear_work_takes_a_tenth() -> None:
    pace: Pace[str] = Pace()
    pace.worked("a", 1, 0.01, is_dear=True)

    assert pace.worked("a", 3, 0.01, is_dear=True) == pytest.approx(0.09)


def test_the_own_cheap_work_is_not_that_of_others() -> None:
    pace: Pace[str] = Pace()
    pace.worked("a", 1, 0.01, is_dear=True)
    pace.worked("a", 2, 0.01, is_dear=False)

    assert pace.worked("a", 3, 0.01, is_dear=True) == 0


def test_those_who_rest_share_the_tenth() -> None:
    pace: Pace[str] = Pace()
    for turn, key in enumerate("abc"):
        pace.worked(key, turn, 0.01, is_dear=True)

    rests = [
        pace.worked(key, 10 * n, 0.01, is_dear=True) for n, key in enumerate("abc", 1)
    ]
    pace.rested("a")
    pace.forget("b")

    assert rests == pytest.approx([0.09, 0.18, 0.27])
    assert pace.worked("c", 50, 0.01, is_dear=True) == pytest.approx(0.09)
    assert pace.worked("b", 60, 0.01, is_dear=True) == 0


def test_nobody_is_held_back_for_long() -> None:
    pace: Pace[str] = Pace()
    pace.worked("a", 1, 5.0, is_dear=True)

    assert pace.worked("a", 3, 5.0, is_dear=True) == 1.0
