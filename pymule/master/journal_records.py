"""One record of each table: from a fact, with its CRC-32, and back.

The CRC is over every column, the number of the row included, so that a record which
the database gives back in another place, or with one bit changed, is known.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self, cast
from zlib import crc32

from pymule.sansio.body import JsonObject
from pymule.sansio.delivery import DeadLetter, DeadReason
from pymule.sansio.record import Changed, Gone, SeenId, Stored
from pymule.sansio.target import MessageId

__all__ = (
    "CHANGE_COLUMNS",
    "DEAD_COLUMNS",
    "ROW_COLUMNS",
    "SEEN_COLUMNS",
    "BadRecordError",
    "Clock",
    "Record",
    "change_of",
    "letter_of",
    "record_of_change",
    "record_of_letter",
    "record_of_seen",
    "record_of_stored",
    "sealed",
    "seen_of",
    "stored_of",
)

Record = tuple[object, ...]
"""The columns of one record, in the order below."""

ROW_COLUMNS: Final = (
    "row, queue, first_id, count, accepted_at, due_at, message_id, crc, options,"
    " payload"
)
CHANGE_COLUMNS: Final = (
    "row, seq, first_id, count, attempts, crashes, due_at, errors, crc"
)
DEAD_COLUMNS: Final = (
    "id, queue, attempts, crashes, reason, errors, accepted_at, died_at, crc, options,"
    " body"
)
SEEN_COLUMNS: Final = "queue, message_id, id, at, crc"

# zlib gives up the GIL for more than 5 KiB and waits for it again, 5 ms if the loop is
# busy; in pieces, a batch of 64 KiB takes 12 us.
_PIECE: Final = 5 * 1024

# 220 years; with those since 1970 they fit in 63 bits of nanoseconds.
_MAX_S: Final = 7e9


class BadRecordError(ValueError):
    """A record is not what was written."""


@dataclass(frozen=True, slots=True)
class Clock:
    """The two clocks at one instant.

    Args:
        offset_ns: The Unix epoch's nanoseconds less the monotonic ones.
    """

    offset_ns: int

    @classmethod
    def now(cls) -> Self:
        """Look at both."""
        return cls(time.time_ns() - time.monotonic_ns())

    def wall(self, at: float) -> int:
        """Return nanoseconds of the Unix epoch for monotonic seconds."""
        return int(min(max(at, -_MAX_S), _MAX_S) * 1e9) + self.offset_ns

    def monotonic(self, wall: int) -> float:
        """Return monotonic seconds for nanoseconds of the Unix epoch."""
        return (wall - self.offset_ns) / 1e9


# What the tables give, if it is what was written; the CRC tells.
_Row = tuple[int, str, int, int, int, int | None, bytes | None, int, bytes, bytes]
_Change = tuple[int, int, int, int, int | None, int, int | None, str | None, int]
_Dead = tuple[int, str, int, int, str, str | None, int, int, int, bytes, bytes]
_Seen = tuple[str, bytes, int, int, int]


def _crc(columns: Record, blobs: tuple[bytes, ...]) -> int:
    crc = crc32(repr(columns).encode())
    for blob in blobs:
        if len(blob) <= _PIECE:
            crc = crc32(blob, crc)
            continue
        view = memoryview(blob)
        for start in range(0, len(blob), _PIECE):
            crc = crc32(view[start : start + _PIECE], crc)
    return crc


def sealed(columns: Record, *blobs: bytes) -> Record:
    """Return the record of *columns* and *blobs*, with the CRC between them."""
    return (*columns, _crc(columns, blobs), *blobs)


def _check(crc: object, columns: Record, blobs: tuple[bytes, ...] = ()) -> None:
    try:
        found = _crc(columns, blobs)
    except TypeError:
        raise BadRecordError("no bytes where bytes were written") from None
    if crc != found:
        raise BadRecordError("the CRC-32 does not fit")


def _dump_errors(errors: Sequence[JsonObject]) -> str | None:
    return json.dumps(errors) if errors else None


def _load_errors(text: str | None) -> tuple[JsonObject, ...]:
    return tuple(json.loads(text)) if text else ()


def _pack_name(name: str) -> bytes:
    # The JSON of a sender may have half a surrogate pair, which no text of SQLite can.
    return name.encode("utf-8", "surrogatepass")


def _read_name(name: bytes) -> str:
    return name.decode("utf-8", "surrogatepass")


def record_of_stored(fact: Stored, clock: Clock) -> Record:
    """Return the record of a row."""
    columns = (
        fact.row,
        fact.queue,
        fact.first_id,
        fact.count,
        clock.wall(fact.accepted_at),
        None if fact.due_at is None else clock.wall(fact.due_at),
        None if fact.message_id is None else _pack_name(fact.message_id),
    )
    return sealed(columns, fact.options, fact.payload)


def stored_of(record: Record, clock: Clock) -> Stored:
    """Return the fact of a row.

    Raises:
        BadRecordError: It is not what was written.
    """
    (
        row,
        queue,
        first_id,
        count,
        accepted_at,
        due_at,
        message_id,
        crc,
        options,
        payload,
    ) = cast("_Row", record)
    _check(crc, record[:-3], (options, payload))
    return Stored(
        row,
        queue,
        first_id,
        count,
        options,
        payload,
        clock.monotonic(accepted_at),
        None if due_at is None else clock.monotonic(due_at),
        message_id=None if message_id is None else _read_name(message_id),
    )


def record_of_change(fact: Changed | Gone, seq: int, clock: Clock) -> Record:
    """Return the record of a change."""
    if isinstance(fact, Gone):
        columns: Record = (
            fact.row, seq, fact.first_id, fact.count, None, None, None, None,
        )  # fmt: skip
    else:
        columns = (
            fact.row,
            seq,
            fact.first_id,
            fact.count,
            fact.attempts,
            fact.crashes,
            None if fact.due_at is None else clock.wall(fact.due_at),
            _dump_errors(fact.errors),
        )
    return sealed(columns)


def change_of(record: Record, clock: Clock) -> Changed | Gone:
    """Return the fact of a change.

    Raises:
        BadRecordError: It is not what was written.
    """
    row, _, first_id, count, attempts, crashes, due_at, errors, crc = cast(
        "_Change", record
    )
    _check(crc, record[:-1])
    if attempts is None:
        return Gone(row, first_id, count)
    return Changed(
        row,
        first_id,
        count,
        attempts,
        crashes,
        None if due_at is None else clock.monotonic(due_at),
        _load_errors(errors),
    )


def record_of_letter(letter: DeadLetter, clock: Clock) -> Record:
    """Return the record of a dead letter."""
    columns = (
        letter.id,
        letter.queue,
        letter.attempts,
        letter.crashes,
        letter.reason.name,
        _dump_errors(letter.errors),
        clock.wall(letter.accepted_at),
        clock.wall(letter.died_at),
    )
    return sealed(columns, letter.options, letter.body)


def letter_of(record: Record, clock: Clock) -> DeadLetter:
    """Return a dead letter.

    Raises:
        BadRecordError: It is not what was written.
    """
    (
        id_,
        queue,
        attempts,
        crashes,
        reason,
        errors,
        accepted,
        died,
        crc,
        options,
        body,
    ) = cast("_Dead", record)
    _check(crc, record[:-3], (options, body))
    return DeadLetter(
        MessageId(id_),
        queue,
        body,
        options,
        attempts,
        crashes,
        DeadReason[reason],
        _load_errors(errors),
        clock.monotonic(accepted),
        clock.monotonic(died),
        is_kept=True,
    )


def record_of_seen(seen: SeenId, clock: Clock) -> Record:
    """Return the record of a message id."""
    name = _pack_name(seen.message_id)
    return sealed((seen.queue, name, seen.id, clock.wall(seen.at)))


def seen_of(record: Record, clock: Clock) -> SeenId:
    """Return a message id.

    Raises:
        BadRecordError: It is not what was written.
    """
    queue, message_id, id_, at, crc = cast("_Seen", record)
    _check(crc, record[:-1])
    return SeenId(queue, _read_name(message_id), id_, clock.monotonic(at))
