"""A journal as JSON lines: each message by itself, with all that is known of it.

The first line tells the form; then come messages in their order, dead letters with the
oldest first, message ids of senders, and queues that are paused. Bodies are in base64,
times in seconds of the Unix epoch. What is empty is left out.
"""

import base64
from collections.abc import Iterator
from typing import Final

from pymule.master.journal_file import JournalFile
from pymule.master.journal_reader import Reader
from pymule.master.journal_records import Clock
from pymule.sansio.batch import Batch
from pymule.sansio.body import JsonObject, read_json
from pymule.sansio.delivery import DeadLetter
from pymule.sansio.record import Share, StoredRow

__all__ = ("EXPORT_FORM", "UNIX", "export_lines")

EXPORT_FORM: Final = 1

UNIX: Final = Clock(0)
"""The clock whose seconds are those of the Unix epoch."""


def export_lines(file: JournalFile) -> Iterator[JsonObject]:
    """Yield everything that is in the journal.

    Raises:
        JournalDamagedError: Something in it is not what was written.
    """
    reader = Reader(file, UNIX)
    yield {"kind": "journal", "form": EXPORT_FORM}
    for row in reader.rows():
        yield from _messages(row)
    for letter in reader.dead():
        yield _letter(letter)
    for seen in reader.seen(float("inf")):
        yield {
            "kind": "seen",
            "queue": seen.queue,
            "message_id": seen.message_id,
            "id": seen.id,
            "at": seen.at,
        }
    for queue in sorted(reader.paused()):
        yield {"kind": "paused", "queue": queue}


def _messages(row: StoredRow) -> Iterator[JsonObject]:
    stored = row.stored
    batch = Batch(stored.count, stored.payload)
    for share in row.shares:
        bodies = batch.bodies(share.first_id - stored.first_id, share.count)
        for number, body in enumerate(bodies, share.first_id):
            told: JsonObject = {
                "kind": "message",
                "id": number,
                "queue": stored.queue,
                "body_base64": base64.b64encode(body).decode(),
                "options": _options(stored.options),
                "accepted_at": stored.accepted_at,
                "message_id": stored.message_id,
                **_history(share),
            }
            yield _without_nothing(told)


def _history(share: Share) -> JsonObject:
    return {
        "due_at": share.due_at,
        "attempts": share.attempts,
        "crashes": share.crashes,
        "errors": list(share.errors),
    }


def _letter(letter: DeadLetter) -> JsonObject:
    told: JsonObject = {
        "kind": "dead",
        "id": letter.id,
        "queue": letter.queue,
        "body_base64": base64.b64encode(letter.body).decode(),
        "options": _options(letter.options),
        "attempts": letter.attempts,
        "crashes": letter.crashes,
        "reason": letter.reason.name,
        "errors": list(letter.errors),
        "accepted_at": letter.accepted_at,
        "died_at": letter.died_at,
    }
    return _without_nothing(told)


def _options(options: bytes) -> JsonObject:
    return read_json(options) if options else {}


def _without_nothing(told: JsonObject) -> JsonObject:
    return {
        name: value for name, value in told.items() if value not in (None, [], {}, 0)
    }
