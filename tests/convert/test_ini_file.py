from hypothesis import given
from hypothesis import strategies as st

from pymule.convert.ini_file import read_ini, sections_of
from pymule.errors import ConfigError

FILE = """
before = the section
[uwsgi]
; a comment
# another
master
  mule = a.py \t
mule=b=c.py
mule =
env = A=x # no comment
[other]
mule = no.py
[uwsgi]
last = 1"""


def pairs(text: str, section: str = "uwsgi") -> list[tuple[int, str, str]]:
    return [
        (option.origin.line, option.name, option.value)
        for option in read_ini(text, "f.ini", section)
    ]


def test_keys_may_come_again_and_stand_alone() -> None:
    assert pairs(FILE) == [
        (6, "master", ""),
        (7, "mule", "a.py"),
        (8, "mule", "b=c.py"),
        (9, "mule", ""),
        (10, "env", "A=x # no comment"),
        (14, "last", "1"),
    ]


def test_another_section_can_be_asked_for() -> None:
    assert pairs(FILE, "other") == [(12, "mule", "no.py")]
    assert pairs(FILE, "none") == []


def test_the_sections_are_told_each_once() -> None:
    assert sections_of(FILE) == ["uwsgi", "other"]
    assert sections_of("[]\nx\n") == []


def test_lines_may_end_as_on_windows() -> None:
    assert pairs("[uwsgi]\r\nmule = a.py\r\n") == [(2, "mule", "a.py")]


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        options = read_ini(f"[uwsgi]\n{text}", "f", "uwsgi")
    except ConfigError:
        return

    assert all(option.name for option in options)
