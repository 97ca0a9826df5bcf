from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymule.convert.option import Option, Origin, new_option
from pymule.convert.placeholders import Placeholders
from pymule.convert.surroundings import Surroundings

OPTIONS = {
    "foo": "17",
    "bar": "30",
    "base": "/srv/%(name)",
    "name": "shop",
    "env": "$(HOME)/%(name)",
    "loop": "%(loop)",
    "grow": "%(grow2)%(grow2)",
    "grow2": "%(grow)%(grow)",
    "sum": "%(sum + 1)",
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("placeholders")
    (path / "secret").write_text("line one\nline two\n\n")
    return path


def filled(value: str, directory: Path) -> tuple[Option, list[str]]:
    origin = Origin("f", 1)
    options = [new_option(name, text, origin) for name, text in OPTIONS.items()]
    options.append(new_option("foo", "later", origin))
    environ = {"HOME": "/srv/me", "EMPTY": ""}
    option = new_option("mule", value, origin)
    placeholders = Placeholders([*options, option], Surroundings(environ, directory))
    return placeholders.put_into(option)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("plain", "plain"),
        ("%(foo)-%(bar)", "17-30"),
        ("%(base)/x", "/srv/shop/x"),
        ("%(env)", "/srv/me/shop"),
        ("$(HOME)", "/srv/me"),
        ("$(UNSET-a-b)", "a-b"),
        ("$(UNSET:-)", ""),
        ("$(EMPTY:-x)", "x"),
        ("$(EMPTY-x)", ""),
        ("@(secret)", "line one\nline two"),
        ("%(foo + bar + 3 * 2)", "100"),
        ("%(foo ++)", "18"),
        ("%(foo bar --)", "1729"),
        ("%(foo - 20)", "-3"),
        ("%(bar / 7)", "4"),
        ("%(-7 + 2)", "2"),
        ("%(1 - 8 / 2)", "-3"),
        ("%(bar / 0)", "0"),
        ("%(none foo)", "17"),
        ("%(name + 1)", "1"),
        ("50% $ @ %()", "50% $ @ %()"),
    ],
)
def test_values_are_put_in(value: str, expected: str, directory: Path) -> None:
    option, _ = filled(value, directory)

    assert (option.value, option.doubt) == (expected, "")


@pytest.mark.parametrize(
    ("value", "doubt"),
    [
        ("$(UNSET)", "$(UNSET) is not set here"),
        ("@(none)", "none: cannot be read: No such file or directory"),
        ("%(none)", "%(none) is not known here"),
        ("%(_)", "%(_) is not known here"),
        ("%(loop)", "its placeholders never come to an end"),
        ("%(grow)", "its placeholders never come to an end"),
        ("%(sum)", "its placeholders never come to an end"),
    ],
)
def test_what_cannot_be_put_in_is_in_doubt(
    value: str, doubt: str, directory: Path
) -> None:
    option, _ = filled(value, directory)

    assert option.doubt == doubt


def test_what_another_machine_may_have_differently_is_told(directory: Path) -> None:
    _, sentences = filled("$(HOME) @(secret) %(foo)", directory)

    assert sentences == [
        "$(HOME) is '/srv/me' here",
        "@(secret) is 'line one\\nline two' here",
    ]


def test_an_option_in_doubt_stays_as_it_is(directory: Path) -> None:
    doubtful = Option("mule", "%(foo)", Origin("f"), "mule", doubt="why")
    foreign = Option("foo", "1", Origin("f"), "foo", condition="if")
    placeholders = Placeholders([doubtful, foreign], Surroundings({}, directory))

    assert placeholders.put_into(doubtful) == (doubtful, [])
    assert placeholders.put_into(new_option("x", "%(foo)", Origin("f")))[0].doubt


def test_names_that_are_referred_to_are_known(directory: Path) -> None:
    option = new_option("mule", "%(foo + bar) %(name)", Origin("f"))

    placeholders = Placeholders([option], Surroundings({}, directory))

    used = ("foo", "bar", "name", "mule")
    assert [placeholders.is_used(name) for name in used] == [True, True, True, False]


@given(st.text("%$@()ab+-1 ", max_size=40))
def test_any_value_comes_to_an_end(value: str) -> None:
    option = new_option("a", value, Origin("f"))
    other = new_option("b", value[::-1].translate({40: 41, 41: 40}), Origin("f"))

    Placeholders([option, other], Surroundings({"a": "%(b)"}, Path("/"))).put_into(
        option
    )
