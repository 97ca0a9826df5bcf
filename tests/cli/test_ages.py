import pytest

from pymule.cli.ages import seconds_in


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("0.5s", 0.5),
        ("5m", 300),
        ("1h", 3_600),
        ("2d", 172_800),
        ("1w", 604_800),
        ("1d12h", 129_600),
    ],
)
def test_numbers_and_units_add_up(text: str, seconds: float) -> None:
    assert seconds_in(text) == seconds


@pytest.mark.parametrize("text", ["", "1", "h", "1 h", "-1h", "1H", "1y", "1h!", "²s"])
def test_what_is_no_span_is_refused_with_what_is(text: str) -> None:
    with pytest.raises(ValueError, match="no span of time; allowed: numbers with s, m"):
        seconds_in(text)
