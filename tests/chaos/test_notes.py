"""What is noted is read again, and one process does not tear the line of another."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.chaos.history import Attempt, Confirm, Entry, Kind, Refuse, Settle, Take
from tests.chaos.notes import Body, Notes, parse, read, to_line

ENTRIES: list[Entry] = [
    Attempt("a", 1, 40, "farm:line", Kind.NAMED, 0, 77, 10**15),
    Confirm("a", 1, 40, 5),
    Refuse("b", 3, 1, "QueueFullError", 6),
    Take("a", 2, "mule", 900, 3, 78, 1, is_intact=True, at=7),
    Take("?", 0, "mule", 900, 3, 78, 1, is_intact=False, at=7),
    Settle(900, 3, 78, is_done=True, at=8),
]


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_is_a_line_and_back(entry: Entry) -> None:
    assert parse(to_line(entry)) == entry


def test_writers_of_one_file_append(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    writers = Notes(path), Notes(path)
    for number, entry in enumerate(ENTRIES):
        writers[number % 2].add(entry)
    for writer in writers:
        writer.close()

    assert list(read([path, tmp_path / "missing"])) == ENTRIES


@settings(deadline=None)
@given(st.from_regex(r"[a-z]{1,5}", fullmatch=True), st.integers(1))
def test_a_body_says_whose_it_is(sender: str, counter: int) -> None:
    body = Body(sender, counter, "farm:x")

    assert Body.unpack(body.pack()) == body


@settings(deadline=None)
@given(st.integers(0), st.integers(1, 255))
def test_a_body_with_one_wrong_byte_is_none(place: int, mask: int) -> None:
    data = bytearray(Body("a", 12, "farm:line").pack())
    data[place % len(data)] ^= mask

    assert Body.unpack(bytes(data)) is None


@settings(deadline=None)
@given(st.binary())
def test_any_bytes_are_no_body(data: bytes) -> None:
    assert Body.unpack(data) is None
