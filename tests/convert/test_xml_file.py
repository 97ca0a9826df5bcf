from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymule.convert.xml_file import read_xml
from pymule.errors import ConfigError
from tests.convert.harness import refusal

FILE = """<?xml version="1.0" encoding="ISO-8859-1"?>
<all>
  <uwsgi id="one"><mule>a.py</mule></uwsgi>
  <uwsgi id="two">
    <master/>
    <mule>
      b&amp;<![CDATA[<c>]]>.py
    </mule>
    <app mountpoint="/"><script>web</script></app>
    text between
  </uwsgi>
</all>
"""


def pairs(text: str, section: str = "") -> list[tuple[int, str, str]] | None:
    options = read_xml(text, "f.xml", section)
    if options is None:
        return None
    return [(option.origin.line, option.name, option.value) for option in options]


def test_elements_are_options_and_empty_ones_stand_alone() -> None:
    assert pairs(FILE, "two") == [
        (5, "master", ""),
        (6, "mule", "b&<c>.py"),
        (9, "app", "web"),
    ]


def test_without_an_id_the_first_is_meant() -> None:
    assert pairs(FILE) == [(3, "mule", "a.py")]


def test_an_outermost_element_needs_no_id() -> None:
    assert pairs("<uwsgi><mule/></uwsgi>", "any") == [(1, "mule", "")]


def test_without_the_element_there_is_nothing() -> None:
    assert pairs("<other><mule/></other>") is None
    assert pairs(FILE, "three") is None
    assert pairs("<uwsgi/>") == []


def test_letters_are_what_they_are_whatever_the_file_says() -> None:
    assert pairs("<uwsgi><mule>\xe4.py</mule></uwsgi>") == [(1, "mule", "\xe4.py")]


@pytest.mark.parametrize(
    "text",
    [
        '<!DOCTYPE uwsgi [<!ENTITY a "b">]>\n<uwsgi><mule>&a;</mule></uwsgi>',
        '<!DOCTYPE uwsgi SYSTEM "http://example.com/x">\n<uwsgi/>',
    ],
)
def test_a_document_type_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^f.xml:1: found a document type"):
        pairs(text)


@pytest.mark.parametrize(
    ("text", "line"),
    [("", 1), ("<uwsgi>\n<mule>\n</uwsgi>", 3), ("<uwsgi>\n&nbsp;</uwsgi>", 2)],
)
def test_what_is_no_xml_is_refused_with_its_line(text: str, line: int) -> None:
    with pytest.raises(ConfigError, match=rf"^f.xml:{line}: not XML: "):
        pairs(text)


def test_half_a_character_is_refused() -> None:
    with pytest.raises(ConfigError, match="half a character"):
        pairs("<uwsgi><mule>\udc80</mule></uwsgi>")


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for document in (text, f"<uwsgi><mule>{text}</mule></uwsgi>"):
        said = refusal(partial(read_xml, document, "f", ""))

        assert said == "" or said.startswith("f:")
