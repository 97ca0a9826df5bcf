from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from pymule.master.queue_rows import (
    fitting,
    full_letter_row,
    letter_row,
    message_row,
)
from pymule.sansio.body import JsonObject, write_json
from pymule.sansio.delivery import DeadLetter, DeadReason
from pymule.sansio.options import pack_options
from pymule.sansio.target import MessageId
from pymule.sansio.upkeep import Peeked

CLOCK: Final = 1_000_000.0


def a_letter(*errors: JsonObject, body: bytes = b"body") -> DeadLetter:
    return DeadLetter(
        id=MessageId(7),
        queue="mule",
        body=body,
        options=pack_options(priority=2, delay=1.5, headers={"a": "b"}),
        attempts=2,
        crashes=1,
        reason=DeadReason.CRASHES,
        errors=errors,
        accepted_at=1.00049,
        died_at=2.0,
    )


def test_times_are_of_the_wall_clock() -> None:
    row = letter_row(a_letter(), CLOCK)

    assert (row["accepted_at"], row["died_at"]) == (1_000_001.0, 1_000_002.0)
    assert row["error"] is None


def test_the_line_of_an_error_is_short() -> None:
    row = letter_row(a_letter({"type": "E", "text": "x" * 500 + "\ny"}), CLOCK)

    assert row["error"] == {"type": "E", "text": "x" * 200}


def test_what_the_sender_asked_for_is_told() -> None:
    row = full_letter_row(a_letter(), CLOCK, 0, 100)

    assert row["options"] == {"delay": 1.5, "priority": 2, "headers": {"a": "b"}}


def test_texts_are_cut_where_they_say_least() -> None:
    error: JsonObject = {"text": "abc", "traceback": "abc", "attempt": 123}

    row = full_letter_row(a_letter(error), CLOCK, 1, 2)

    assert row["errors"] == [{"text": "ab", "traceback": "bc", "attempt": 123}]
    assert (row["body"], row["body_offset"], row["truncated"]) == ("od", 1, True)


def test_a_message_tells_when_it_came_and_when_it_goes() -> None:
    message = Peeked(
        id=MessageId(3),
        queue="mule",
        state="delayed",
        attempts=1,
        crashes=0,
        accepted_at=1.0,
        due_at=5.0,
        expires_at=61.0,
        priority=0,
        options=b"",
        body=b"\xff",
    )

    row = message_row(message, CLOCK, 0, 10)

    times = row["accepted_at"], row["due_at"], row["expires_at"]
    assert times == (1_000_001.0, 1_000_005.0, 1_000_061.0)
    assert (row["state"], row["options"], row["body_base64"]) == ("delayed", {}, "/w==")


@given(
    body=st.binary(max_size=5_000),
    texts=st.lists(st.text(max_size=2_000), max_size=10),
    limit=st.integers(1, 10_000),
)
def test_a_row_fits_in_its_room(body: bytes, texts: list[str], limit: int) -> None:
    errors: list[JsonObject] = [{"text": text, "traceback": text} for text in texts]
    letter = a_letter(*errors, body=body)
    room = 20_000

    row = fitting(lambda size: full_letter_row(letter, CLOCK, 0, size), limit, room)

    assert len(write_json(row)) <= room
    assert row["body_bytes"] == len(body)
