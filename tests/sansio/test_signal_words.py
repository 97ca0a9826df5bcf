import pytest

from pymule.sansio import signals
from pymule.sansio.signal_words import SIGNALS, Outcome, Overlap, check_number


def test_the_machines_use_the_same_words() -> None:
    assert signals.Outcome is Outcome
    assert signals.Overlap is Overlap
    assert signals.SIGNALS == SIGNALS


@pytest.mark.parametrize(
    ("number", "outcome"),
    [(0, Outcome.DONE), (1, Outcome.FAILED), (2, Outcome.RETURNED)],
)
def test_an_outcome_is_its_number_on_the_wire(number: int, outcome: Outcome) -> None:
    assert Outcome(number) is outcome


@pytest.mark.parametrize("number", ["7", 7.0, True, None])
def test_what_is_no_number_is_refused(number: object) -> None:
    with pytest.raises(TypeError, match="allowed: an integer from 0 to 255"):
        check_number(number)


@pytest.mark.parametrize("number", [0, 255])
def test_the_first_and_the_last_number_are_allowed(number: int) -> None:
    assert check_number(number) == number


@pytest.mark.parametrize("number", [-1, 256])
def test_a_number_out_of_range_is_none_of_a_signal(number: int) -> None:
    with pytest.raises(ValueError, match=f"signal {number}; allowed: 0 to 255"):
        check_number(number)
