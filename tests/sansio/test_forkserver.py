"""The words of master and forkserver, and what is none."""

import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pymule.errors import RemoteProtocolError
from pymule.sansio.forkserver import (
    Broken,
    Fork,
    Forked,
    Loaded,
    NotForked,
    Preload,
    Unfit,
    Word,
    read_word,
    write_word,
)

texts = st.lists(st.text())
numbers = st.integers(0, 2**63)
tables = st.dictionaries(st.text(), st.text() | st.none() | st.integers())
words: st.SearchStrategy[Word] = st.one_of(
    st.builds(Preload, texts, texts, st.booleans()),
    st.just(Loaded()),
    st.builds(Unfit, texts),
    st.builds(Broken, tables),
    st.builds(Fork, numbers, tables),
    st.builds(Forked, numbers, st.integers(1, 2**22)),
    st.builds(NotForked, numbers, st.text()),
)
jsons = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(max_examples=50)
@given(words)
def test_what_is_written_is_read(word: Word) -> None:
    assert read_word(write_word(word)) == word


@settings(max_examples=50)
@given(st.binary() | jsons.map(lambda value: json.dumps(value).encode()))
def test_anything_is_a_word_or_the_fault_of_the_peer(data: bytes) -> None:
    with suppress(RemoteProtocolError):
        assert isinstance(read_word(data), Word)


@pytest.mark.parametrize(
    "value",
    [
        {"word": "forked", "number": 1, "pid": 0},
        {"word": "forked", "number": 1, "pid": -1},
        {"word": "forked", "number": "1", "pid": 5},
        {"word": "unfit", "reasons": [1]},
        {"word": "unfit", "reasons": "thread"},
        {"word": "broken", "error": "text"},
        {"word": "preload", "python_path": [], "modules": [None], "uwsgi": False},
        {"word": "preload", "python_path": None, "modules": [], "uwsgi": False},
        {"word": "other"},
        [],
    ],
)
def test_a_word_with_anything_else_in_it_is_none(value: object) -> None:
    with pytest.raises(RemoteProtocolError):
        read_word(json.dumps(value).encode())


def test_brackets_nested_too_deeply_are_no_word() -> None:
    with pytest.raises(RemoteProtocolError):
        read_word(b"[" * 100_000)
