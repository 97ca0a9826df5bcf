import pytest

from pymule.cli.table import (
    Column,
    duration_of,
    plain,
    render_table,
    rows_of,
    shown,
    size_of,
)


def test_numbers_are_at_the_right_and_texts_at_the_left() -> None:
    columns = (Column("NAME", plain("name")), Column("N", plain("n"), is_number=True))
    rows = [{"name": "a", "n": 1}, {"name": "longer", "n": 100}]

    assert render_table(columns, rows) == ("NAME      N\na         1\nlonger  100")


def test_a_state_has_a_colour_and_the_titles_are_bold() -> None:
    columns = (Column("STATE", plain("state")),)

    text = render_table(columns, [{"state": "open"}], is_coloured=True)

    assert text == "\x1b[1mSTATE\x1b[0m\n\x1b[32mopen\x1b[0m"


@pytest.mark.parametrize("value", [None, ""])
def test_nothing_is_a_dash(value: object) -> None:
    assert shown(value) == "-"


def test_no_text_drives_the_terminal() -> None:
    assert shown("a\x1b[2J\nb\u202e") == r"a\x1b[2J\x0ab\u202e"


def test_what_are_no_rows_is_left_out() -> None:
    assert rows_of({"rows": [{"a": 1}, 7]}, "rows") == [{"a": 1}]
    assert rows_of({"rows": 7}, "rows") == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0, "0s"),
        (59.9, "59s"),
        (60, "1m 0s"),
        (3_599, "59m 59s"),
        (3_600, "1h 0m"),
        (86_399, "23h 59m"),
        (90_000, "1d 1h"),
    ],
)
def test_a_duration_has_two_units(seconds: object, text: str) -> None:
    assert duration_of(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (None, "-"),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (1024**2, "1.0 MiB"),
        (1024**3, "1.0 GiB"),
        (5 * 1024**4, "5.0 TiB"),
    ],
)
def test_a_size_has_the_unit_that_fits(size: object, text: str) -> None:
    assert size_of(size) == text
