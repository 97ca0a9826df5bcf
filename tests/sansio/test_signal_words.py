import pytest

from pymule.sansio import signals
from pymule.sansio.signal_words import SIGNALS, Outcome, Overlap


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
