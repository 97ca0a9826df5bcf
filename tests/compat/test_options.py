"""``uwsgi.opt``."""

import pytest

from pymule.compat.options import Options, options_of, read_options
from pymule.sansio.verbs import JsonObject
from tests.compat.conftest import Answers


def row(number: int, program: str | None, *farms: str) -> JsonObject:
    return {"id": number, "program": program, "farms": list(farms)}


def test_text_and_bytes_find_the_same_option() -> None:
    options = Options(farm=b"busy:1")

    assert options["farm"] == options[b"farm"] == b"busy:1"
    assert "farm" in options
    assert options.__contains__(b"farm")
    assert options.get(b"farm") == b"busy:1"
    assert options.get(b"mule") is None
    assert options.get("mule", 5) == 5
    with pytest.raises(KeyError):
        options[b"mule"]


def test_one_is_a_value_and_several_are_a_list() -> None:
    one = options_of({1: row(1, "somaro.py", "busy")})
    two = options_of({2: row(2, None, "busy", "idle"), 1: row(1, "somaro.py", "busy")})

    assert (one["mule"], one["farm"]) == (b"somaro.py", b"busy:1")
    assert two["mule"] == [b"somaro.py", True]
    assert two["farm"] == [b"busy:1,2", b"idle:2"]
    assert (two["mules"], two["master"]) == (b"2", True)
    assert int(two["locks"]) > 0  # type: ignore[arg-type]  # as programs do


def test_without_mules_there_is_no_such_option() -> None:
    assert sorted(options_of({})) == ["locks", "master"]


def test_a_mule_that_is_being_replaced_counts_once(
    answers: tuple[Answers, list[JsonObject]],
) -> None:
    answers[0]["status"] = {"mules": [row(1, "old:run"), row(1, "new:run")]}

    assert read_options()["mule"] == b"new:run"
