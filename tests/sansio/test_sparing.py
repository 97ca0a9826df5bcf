from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pymule.sansio.sparing import Sparing


def test_the_first_is_recorded_at_once_and_the_others_are_counted() -> None:
    sparing = Sparing(1.0)

    told = [sparing.happened(now) for now in (10.0, 10.0, 10.9, 11.0, 11.5, 20.0)]

    assert told == [1, 0, 0, 3, 0, 2]


@given(pauses=st.lists(st.floats(0, 3)))
def test_no_two_records_are_close_and_none_is_forgotten(pauses: list[float]) -> None:
    sparing, now = Sparing(1.0), 0.0
    told: list[tuple[float, int]] = []

    for pause in pauses:
        now += pause
        if count := sparing.happened(now):
            told.append((now, count))
    last = sparing.happened(now + 1.0)

    times = [at for at, _ in told]
    assert all(b >= a + 1.0 for a, b in pairwise(times))
    assert sum(count for _, count in told) + last == len(pauses) + 1
