import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymule.convert.json_file import read_json
from pymule.errors import ConfigError

FILE = """{
  "other": {"mule": "no.py", "uwsgi": {"mule": "nor this.py"}},
  "uwsgi": {
    "mule": "a\\"{b}.py",
    "mule": ["c.py",
             "d.py"],
    "mules": 2, "master": true, "lazy": false,
    "env": null,
    "none": []
  },
  "later": ["uwsgi", {"mule": "no.py"}]
}"""


def pairs(text: str, section: str = "uwsgi") -> list[tuple[int, str, str]] | None:
    options = read_json(text, "f.json", section)
    if options is None:
        return None
    return [(option.origin.line, option.name, option.value) for option in options]


def test_lists_and_equal_keys_are_many_options() -> None:
    assert pairs(FILE) == [
        (4, "mule", 'a"{b}.py'),
        (5, "mule", "c.py"),
        (6, "mule", "d.py"),
        (7, "mules", "2"),
        (7, "master", "true"),
        (7, "lazy", "false"),
        (8, "env", "0"),
    ]


def test_without_the_object_there_is_nothing() -> None:
    assert pairs(FILE, "third") is None
    assert pairs('{"uwsgi": [1]}') is None
    assert pairs("[]") is None
    assert pairs('{"uwsgi": {}}') == []


@pytest.mark.parametrize("value", ['{"a": 1}', '[["a"]]', '[{"a": 1}]'])
def test_more_than_a_list_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match=r"^f.json:2: found '[{\[]' in 'mule'"):
        pairs(f'{{"uwsgi":\n{{"mule": {value}}}}}')


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "f.json:1: not JSON: expecting value"),
        ('{"a":\n}', "f.json:2: not JSON: expecting value"),
        ("[" * 100_000, "f.json: not JSON: nested too deeply"),
        ("9" * 5000, "f.json: not JSON: a number is too long"),
    ],
)
def test_what_is_no_json_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        pairs(text)

    assert str(caught.value) == reason


def test_half_a_character_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^f.json:1: found '\\ud800' in 'mule'"):
        pairs('{"uwsgi": {"mule": "\\ud800"}}')


VALUES = st.one_of(st.booleans(), st.integers(), st.text('abc\n"\\{}[],: ', max_size=9))


@given(
    st.dictionaries(
        st.text('ab"\\:{', min_size=1, max_size=4),
        st.one_of(VALUES, st.lists(VALUES, max_size=3)),
    ),
    st.sampled_from([None, 1]),
)
def test_values_are_those_of_the_standard_reader(
    section: dict[str, object], indent: int | None
) -> None:
    text = json.dumps({"x": {"y": [{}]}, "uwsgi": section, "z": 1}, indent=indent)

    expected = [
        (key, str(item).lower() if isinstance(item, bool) else str(item))
        for key, value in section.items()
        for item in (value if isinstance(value, list) else [value])
    ]
    found = read_json(text, "f", "uwsgi")

    assert found is not None
    assert [(option.name, option.value) for option in found] == expected
