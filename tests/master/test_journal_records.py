"""Records give back what was written, or say that they cannot."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymule.master.journal_records import (
    BadRecordError,
    Clock,
    Record,
    change_of,
    letter_of,
    record_of_change,
    record_of_letter,
    record_of_seen,
    record_of_stored,
    seen_of,
    stored_of,
)
from pymule.sansio.record import Changed, Gone, SeenId, Stored
from tests.master.journaling import letter, stored

CLOCK = Clock(1_700_000_000_000_000_000)
TIMES = st.integers(0, 10**6).map(float)

ROWS = st.builds(
    Stored,
    row=st.integers(1, 2**62),
    queue=st.sampled_from(["mule", "farm:ünïcode"]),
    first_id=st.integers(1, 2**62),
    count=st.integers(1, 65_536),
    options=st.binary(max_size=10),
    payload=st.binary(max_size=10),
    accepted_at=TIMES,
    due_at=st.none() | TIMES,
    message_id=st.none() | st.text(st.characters(exclude_categories=[]), min_size=1),
)
CHANGES = st.builds(
    Changed,
    row=st.integers(1, 2**62),
    first_id=st.integers(1, 2**62),
    count=st.integers(1, 65_536),
    attempts=st.integers(0, 65_536),
    crashes=st.integers(0, 65_536),
    due_at=st.none() | TIMES,
    errors=st.lists(st.dictionaries(st.text(), st.text() | st.none())).map(tuple),
)


@given(ROWS)
def test_a_row_is_given_back(row: Stored) -> None:
    assert stored_of(record_of_stored(row, CLOCK), CLOCK) == row


@given(CHANGES | st.builds(Gone, st.integers(1, 9), st.integers(1, 9), st.just(2)))
def test_a_change_is_given_back(change: Changed | Gone) -> None:
    assert change_of(record_of_change(change, 7, CLOCK), CLOCK) == change


def test_a_dead_letter_is_given_back() -> None:
    back = letter_of(record_of_letter(letter(3), CLOCK), CLOCK)

    assert back == replace(letter(3), is_kept=True)


def test_a_message_id_is_given_back() -> None:
    seen = SeenId("mule", "half a pair: \ud800", 7, 12.0)

    assert seen_of(record_of_seen(seen, CLOCK), CLOCK) == seen


def test_times_are_those_of_the_wall_clock() -> None:
    row = stored(1, at=5.0, due_at=6.5)
    later = Clock(CLOCK.offset_ns - 100_000_000_000)

    back = stored_of(record_of_stored(row, CLOCK), later)

    assert (back.accepted_at, back.due_at) == (105.0, 106.5)


@pytest.mark.parametrize("at", [1e300, float("inf"), -1e300])
def test_no_time_is_too_far_for_a_record(at: float) -> None:
    wall = CLOCK.wall(at)

    assert -(2**63) <= wall < 2**63


def changed(value: object) -> object:
    """Return something else of the same kind, as one flipped bit makes it."""
    match value:
        case int():
            return value ^ 1
        case str():
            return value + "x"
        case bytes():
            return value[:-1] + bytes([value[-1] ^ 128]) if value else b"x"
        case _:
            return 0


Reader = Callable[[Record, Clock], object]


@pytest.mark.parametrize(
    ("record", "read"),
    [
        (record_of_stored(stored(5, 6, 7, message_id="x"), CLOCK), stored_of),
        (record_of_change(Changed(1, 2, 3, 4, 5), 6, CLOCK), change_of),
        (record_of_change(Gone(1, 2, 3), 6, CLOCK), change_of),
        (record_of_letter(letter(8), CLOCK), letter_of),
        (record_of_seen(SeenId("mule", "x", 1, 2.0), CLOCK), seen_of),
    ],
    ids=["row", "change", "gone", "letter", "seen"],
)
def test_a_change_of_any_column_is_found(record: Record, read: Reader) -> None:
    read(record, CLOCK)

    for column in range(len(record)):
        for other in (changed(record[column]), None if record[column] else 1):
            bad = (*record[:column], other, *record[column + 1 :])
            if bad != record:
                with pytest.raises(BadRecordError):
                    read(bad, CLOCK)


@given(st.integers(0, 50_000), st.data())
def test_a_flipped_bit_of_a_long_payload_is_found(
    size: int, data: st.DataObject
) -> None:
    row = Stored(1, "mule", 1, 1, b"", b"\0" * (size + 1), accepted_at=1.0)
    *columns, payload = record_of_stored(row, CLOCK)
    assert isinstance(payload, bytes)
    place = data.draw(st.integers(0, size))
    flipped = bytearray(payload)
    flipped[place] ^= 1 << data.draw(st.integers(0, 7))

    with pytest.raises(BadRecordError, match="CRC"):
        stored_of((*columns, bytes(flipped)), CLOCK)


def test_what_is_no_bytes_is_no_payload() -> None:
    *columns, _ = record_of_stored(stored(1), CLOCK)

    with pytest.raises(BadRecordError, match="no bytes"):
        stored_of((*columns, "text"), CLOCK)
