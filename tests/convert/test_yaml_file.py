from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymule.convert.yaml_file import read_yaml
from pymule.errors import ConfigError
from tests.convert.harness import refusal

FILE = """%YAML 1.2
---
first: [a, {b: c}]
uwsgi:  # the section

  http: 127.0.0.1:8080
  static-map: /a=b#c   # a comment
  mule: lib/main.py
  'mule': 'it''s.py'
  mule: "a\\tb: c.py"
  master:
  empty: # nothing
  module:app.web
  farm:
    - one:1
  # between
    - "two:2"
  env:
  - A=1
  -
  socket: [":1", ':2', x]  # ports
  quoted: "a" # "b"
  pattern: *
later:
  anchors: &a
    - |
      text
"""


def pairs(text: str, section: str = "uwsgi") -> list[tuple[int, str, str]] | None:
    options = read_yaml(text, "f.yml", section)
    if options is None:
        return None
    return [(option.origin.line, option.name, option.value) for option in options]


def test_keys_may_come_again_and_have_lists() -> None:
    assert pairs(FILE) == [
        (6, "http", "127.0.0.1:8080"),
        (7, "static-map", "/a=b#c"),
        (8, "mule", "lib/main.py"),
        (9, "mule", "it's.py"),
        (10, "mule", "a\tb: c.py"),
        (11, "master", ""),
        (12, "empty", ""),
        (13, "module", "app.web"),
        (15, "farm", "one:1"),
        (17, "farm", "two:2"),
        (19, "env", "A=1"),
        (20, "env", ""),
        (21, "socket", ":1"),
        (21, "socket", ":2"),
        (21, "socket", "x"),
        (22, "quoted", "a"),
        (23, "pattern", "*"),
    ]


def test_without_the_section_there_is_nothing() -> None:
    assert pairs(FILE, "third") is None
    assert pairs("uwsgi:\nother:\n  mule: a.py\n") == []


def test_the_last_key_may_stand_alone() -> None:
    assert pairs("uwsgi:\n  mule:") == [(2, "mule", "")]


def test_an_escape_that_json_has_not_is_left() -> None:
    assert pairs('uwsgi:\n  mule: "a\\x41.py"') == [(2, "mule", "a\\x41.py")]


@pytest.mark.parametrize(
    "line",
    [
        "  mule: {a: b}",
        "  mule: [a, [b]]",
        "  mule: [a,",
        "  mule: |",
        "  mule: >-  # text",
        "    - [a]\n",
        "      deeper: 1",
        "  no pair",
        "  [a, b]",
    ],
)
def test_more_than_flat_is_refused_with_its_line(line: str) -> None:
    with pytest.raises(
        ConfigError, match=r"^f.yml:4: found .* allowed in this section"
    ):
        pairs(f"uwsgi:\n  a: 1\n  list:\n{line}\n")


@pytest.mark.parametrize("line", ["  - a", "- a"])
def test_a_list_needs_a_key(line: str) -> None:
    text = f"uwsgi:\n  a: 1\n{line}\n"

    if line.startswith(" "):
        with pytest.raises(ConfigError, match=r"^f.yml:3: found '- a'"):
            pairs(text)
    else:
        assert pairs(text) == [(2, "a", "1")]


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for document in (text, f"uwsgi:\n  a: 1\n  {text}"):
        said = refusal(partial(read_yaml, document, "f", "uwsgi"))

        assert said == "" or said.startswith("f:")
