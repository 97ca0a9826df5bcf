from hypothesis import given
from hypothesis import strategies as st

from pymule.sansio.crowd import Crowd

STEPS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 50)), max_size=60)


def test_up_to_half_of_the_limit_one_client_may_have_it_all() -> None:
    crowd: Crowd[str] = Crowd(200)

    assert not crowd.is_too_heavy("a", 60, 40, 40)
    assert crowd.is_too_heavy("a", 61, 40, 40)


def test_in_a_crowd_those_with_little_are_not_concerned() -> None:
    crowd: Crowd[str] = Crowd(200)
    crowd.is_too_heavy("heavy", 150, 0, 0)

    assert not crowd.is_too_heavy("light", 50, 0, 0)
    assert crowd.is_too_heavy("light", 30, 21, 21)


def test_what_waits_for_an_answer_counts_too() -> None:
    crowd: Crowd[str] = Crowd(200)

    assert crowd.is_too_heavy("a", 0, 101, 101)
    assert not crowd.is_too_heavy("b", 0, 0, 101)


def test_relief_comes_well_below_half() -> None:
    crowd: Crowd[str] = Crowd(200)
    crowd.is_too_heavy("a", 70, 0, 0)

    assert crowd.is_relieved(4)
    assert not crowd.is_relieved(5)


def test_who_left_has_nothing_in_transit() -> None:
    crowd: Crowd[str] = Crowd(200)
    crowd.is_too_heavy("a", 150, 0, 0)

    crowd.forget("a")
    crowd.forget("never seen")

    assert crowd.total == 0


@given(steps=STEPS)
def test_the_limit_holds_whatever_they_send(steps: list[tuple[int, int]]) -> None:
    limit = 600
    crowd: Crowd[int] = Crowd(limit)
    weights = dict.fromkeys(range(6), 0)
    for key in weights:
        crowd.is_too_heavy(key, 0, 0, 0)
    held: set[int] = set()

    for key, size in steps:
        if key in held:
            continue
        weights[key] += size
        if crowd.is_too_heavy(key, weights[key], 0, 0):
            held.add(key)

        assert crowd.total == sum(weights.values())
        # One read more than its share, for each of them.
        assert crowd.total <= limit + 6 * 50
