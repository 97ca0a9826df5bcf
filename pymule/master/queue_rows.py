"""What the answers about queues say of a message and of a dead letter.

Times are seconds of the Unix epoch: the master's monotonic clock plus *clock*.
"""

from collections.abc import Callable
from typing import Final

from pymule.sansio.body import JsonObject, write_json
from pymule.sansio.delivery import DeadLetter
from pymule.sansio.excerpt import excerpt
from pymule.sansio.options import unpack_options
from pymule.sansio.upkeep import Peeked

__all__ = ("MAX_EXCERPT", "fitting", "full_letter_row", "letter_row", "message_row")

MAX_EXCERPT: Final = 65_536
"""Bytes of a body in one answer, at most; and characters of each text of an error."""

_LINE_CHARS: Final = 200
# What must not depend on the room there is: ids, times, names.
_LEAST: Final = 64


def message_row(message: Peeked, clock: float, offset: int, limit: int) -> JsonObject:
    """Return what ``peek`` tells of a message, with a part of its body."""
    return {
        "id": message.id,
        "state": message.state,
        "attempts": message.attempts,
        "crashes": message.crashes,
        "accepted_at": _wall(message.accepted_at, clock),
        "due_at": _wall(message.due_at, clock),
        "expires_at": _wall(message.expires_at, clock),
        "priority": message.priority,
        "options": unpack_options(message.options),
        **excerpt(message.body, offset, limit),
    }


def letter_row(letter: DeadLetter, clock: float) -> JsonObject:
    """Return what ``dead`` tells of a dead letter in its list."""
    error = letter.error
    text = str(error.get("text", "")).partition("\n")[0]
    return {
        **_head(letter, clock),
        "error": (
            {"type": error.get("type"), "text": text[:_LINE_CHARS]} if error else None
        ),
        "body_bytes": len(letter.body),
    }


def full_letter_row(
    letter: DeadLetter, clock: float, offset: int, limit: int
) -> JsonObject:
    """Return all there is of a dead letter, with a part of its body."""
    return {
        **_head(letter, clock),
        "options": unpack_options(letter.options),
        "errors": [_clipped(error, limit) for error in letter.errors],
        **excerpt(letter.body, offset, limit),
    }


def fitting(make: Callable[[int], JsonObject], limit: int, room: int) -> JsonObject:
    """Return a row of at most *room* bytes of JSON.

    Args:
        make: Called with the bytes that texts of any length may have in it.
        limit: More than so many are not wanted.
        room: Above what a row has without them.
    """
    row = make(limit)
    while len(write_json(row)) > room and limit > _LEAST:
        limit //= 2
        row = make(limit)
    return row


def _head(letter: DeadLetter, clock: float) -> JsonObject:
    return {
        "id": letter.id,
        "queue": letter.queue,
        "reason": letter.reason.name.lower(),
        "attempts": letter.attempts,
        "crashes": letter.crashes,
        "accepted_at": _wall(letter.accepted_at, clock),
        "died_at": _wall(letter.died_at, clock),
    }


def _wall(at: float | None, clock: float) -> float | None:
    return None if at is None else round(at + clock, 3)


def _clipped(error: JsonObject, limit: int) -> JsonObject:
    # Of a traceback the end says most.
    return {
        key: (value[-limit:] if key == "traceback" else value[:limit])
        if isinstance(value, str)
        else value
        for key, value in error.items()
    }
