import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymule.cli.words import MAX_MULES, program_of, with_values

BARE = "--mule=\0"


def mules_of(*arguments: str) -> list[str | None]:
    return [
        program_of(word.removeprefix("--mule="))
        for word in with_values(arguments)
        if word.startswith("--mule=")
    ]


def test_a_mule_without_a_value_gets_one_that_means_none() -> None:
    assert with_values(["--mule", "--mule=x.py"]) == [BARE, "--mule=x.py"]


def test_mules_keep_their_order_among_the_single_ones() -> None:
    found = mules_of("--mule=a.py", "--mules", "2", "--mule", "--mule=b:c", "--mules=1")

    assert found == ["a.py", None, None, None, "b:c", None]


def test_an_empty_program_is_not_the_same_as_none() -> None:
    assert mules_of("--mule=") == [""]


@pytest.mark.parametrize(
    "number", ["0", "-1", "x", "", "1.5", "\u0663", str(MAX_MULES + 1), "9" * 5000]
)
def test_a_number_that_will_not_do_is_left_to_the_parser(number: str) -> None:
    assert with_values(["--mules", number]) == [f"--mules={number}"]
    assert with_values([f"--mules={number}"]) == [f"--mules={number}"]


def test_mules_at_the_end_are_left_without_a_number() -> None:
    assert with_values(["--mules"]) == ["--mules="]


def test_as_many_mules_as_allowed_are_made() -> None:
    assert mules_of("--mules", str(MAX_MULES)) == [None] * MAX_MULES


def test_what_follows_two_dashes_stays_as_it_is() -> None:
    assert with_values(["--mule", "--", "--mule", "--mules", "2"]) == [
        BARE,
        "--",
        "--mule",
        "--mules",
        "2",
    ]


@given(st.lists(st.text().filter(lambda word: word.partition("=")[0] != "--mules")))
def test_other_words_are_untouched(words: list[str]) -> None:
    others = [word for word in words if word != "--mule"]

    assert with_values(others) == others
    assert [word for word in with_values(words) if word != BARE] == others
