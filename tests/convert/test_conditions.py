from pathlib import Path

import pytest

from pymule.convert.conditions import OPENING, Block, open_block, open_else
from pymule.convert.option import Option, Origin, new_option
from pymule.convert.surroundings import Surroundings

HERE = Origin("f", 1)


@pytest.fixture
def surroundings(tmp_path: Path) -> Surroundings:
    (tmp_path / "file").touch()
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "b").touch()
    (tmp_path / "dir" / "a").touch()
    return Surroundings({"SET": "1", "EMPTY": ""}, tmp_path)


def opened(name: str, value: str, surroundings: Surroundings) -> Block:
    seen = [new_option("cheaper", "3", HERE), new_option("cheaper", "4", HERE)]
    return open_block(new_option(name, value, HERE), seen, surroundings)


def option(value: str) -> Option:
    return new_option("mule", value, HERE)


@pytest.mark.parametrize(
    ("name", "value", "turns"),
    [
        ("for", " a  b ", ("a", "b")),
        ("for-times", "3", ("1", "2", "3")),
        ("for-times", "0", ()),
        ("for-glob", "dir/*", ("dir/a", "dir/b")),
        ("for-glob", "none/*", ("none/*",)),
        ("if-env", "SET", ("1",)),
        ("if-env", "SET=1", ("1",)),
        ("if-env", "SET=2", ()),
        ("if-env", "EMPTY", (None,)),
        ("if-env", "UNSET", ()),
        ("if-not-env", "UNSET", (None,)),
        ("if-not-env", "SET", ()),
        ("ifenv", "SET", ("1",)),
        ("if-opt", "cheaper", ("3",)),
        ("if-opt", "cheaper=4", ()),
        ("if-not-opt", "none", (None,)),
        ("if-exists", "dir", ("dir",)),
        ("if-file", "dir", ()),
        ("if-file", "file", ("file",)),
        ("if-not-file", "dir", ("dir",)),
        ("if-dir", "dir", ("dir",)),
        ("if-directory", "file", ()),
        ("if-reload", "", ()),
        ("if-not-reload", "", (None,)),
    ],
)
def test_how_often_an_option_counts(
    name: str, value: str, turns: tuple[str | None, ...], surroundings: Surroundings
) -> None:
    assert name in OPENING
    assert opened(name, value, surroundings).turns == turns


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("if-plugin", "python"),
        ("if-hostname", "a"),
        ("if-not-hostname-match", "a.*"),
        ("for-readline", "file"),
        ("for-times", "many"),
        ("for-times", "10001"),
    ],
)
def test_what_cannot_be_known_is_a_condition_of_its_options(
    name: str, value: str, surroundings: Surroundings
) -> None:
    block = opened(name, value, surroundings)

    (inside,) = block.apply(option("x.py"))

    assert inside.condition == block.condition != ""
    assert value in inside.condition or "10000 times" in inside.condition


def test_the_options_are_repeated_each_by_itself() -> None:
    copies = Block(("a", "b")).apply(option("%(_)/%(_).py"))

    assert [copy.value for copy in copies] == ["a/a.py", "b/b.py"]
    assert Block((None,)).apply(option("%(_)")) == [option("%(_)")]
    assert Block(()).apply(option("x")) == []


def test_a_condition_that_fails_only_here_keeps_its_options_in_sight(
    surroundings: Surroundings,
) -> None:
    block = opened("if-env", "UNSET", surroundings)

    (inside,) = block.apply(option("x.py"))

    assert block.verdict == "does not hold here"
    assert inside.condition == "counts only if env = UNSET; that does not hold here"


def test_a_condition_that_is_the_same_everywhere_is_not_spoken_of(
    surroundings: Surroundings,
) -> None:
    assert opened("if-opt", "none", surroundings) == Block(())
    assert opened("if-env", "SET", surroundings).verdict == "holds here"


def test_else_is_for_the_other_case(surroundings: Surroundings) -> None:
    holds = opened("if-env", "SET", surroundings)
    fails = opened("if-opt", "none", surroundings)
    unknown = opened("if-plugin", "python", surroundings)

    fails_here = opened("if-env", "UNSET", surroundings)

    assert open_else(fails).turns == (None,)
    assert open_else(fails_here).apply(option("x.py")) == [option("x.py")]
    assert open_else(opened("if-opt", "cheaper", surroundings)).turns == ()
    assert open_else(holds).condition == "counts only unless env = SET; that holds here"
    assert open_else(None).turns == (None,)
    assert open_else(unknown).condition == (
        "counts only unless plugin = python; that is not known here"
    )
