import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymule.convert.command_line import read_command_line
from pymule.errors import ConfigError


def pairs(*words: str) -> list[tuple[str, str]]:
    return [(option.name, option.value) for option in read_command_line(words)]


@pytest.mark.parametrize("program", [(), ("uwsgi",), ("/usr/local/bin/uwsgi-core",)])
def test_the_program_may_come_first(program: tuple[str, ...]) -> None:
    assert pairs(*program, "--mule=x.py", "--mules", "2", "--farm", "busy:1,2") == [
        ("mule", "x.py"),
        ("mules", "2"),
        ("farm", "busy:1,2"),
    ]


def test_flags_take_no_word_and_mule_takes_none_but_its_own() -> None:
    assert pairs("--master", "x.py", "--mule", "y.py", "--chdir", "/srv") == [
        ("master", ""),
        ("wsgi-file", "x.py"),
        ("mule", ""),
        ("wsgi-file", "y.py"),
        ("chdir", "/srv"),
    ]


def test_letters_stand_together_and_end_with_a_value() -> None:
    assert pairs("-Mp4", "-s", ":1", "-iM", "-w", "a.b", "-C") == [
        ("master", ""),
        ("processes", "4"),
        ("socket", ":1"),
        ("single-interpreter", ""),
        ("master", ""),
        ("module", "a.b"),
        ("chmod-socket", ""),
    ]


def test_unknown_names_take_a_word_that_is_no_option() -> None:
    assert pairs("--strange", "1", "--other", "--master", "-Z", "9") == [
        ("strange", "1"),
        ("other", ""),
        ("master", ""),
        ("Z", "9"),
    ]


def test_a_value_may_be_missing_at_the_end() -> None:
    assert pairs("--chdir") == [("chdir", "")]


def test_words_are_files_by_how_they_end() -> None:
    words = ("a.ini", "b.yml:x", "c.json", "d.xml", "e.py:app", "pkg.web:app", "word")

    assert pairs(*words, "--", "--master") == [
        ("ini", "a.ini"),
        ("yaml", "b.yml:x"),
        ("json", "c.json"),
        ("xml", "d.xml"),
        ("wsgi-file", "e.py:app"),
        ("module", "pkg.web:app"),
        ("word", ""),
        ("--master", ""),
    ]


def test_a_word_that_is_no_text_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^command line: found "):
        pairs("--mule=\udcff.py")


@given(st.lists(st.text()))
def test_any_words_are_read_or_refused(words: list[str]) -> None:
    try:
        options = read_command_line(["uwsgi", *words])
    except ConfigError:
        return

    # At most one for each letter, or for each word.
    assert len(options) <= sum(len(word) or 1 for word in words)
