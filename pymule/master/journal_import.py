"""JSON lines of an exported journal, into a journal.

An id that the journal may have given already is replaced by a new one. Neighbours with
one history, and with the same options, become one row again.
"""

import base64
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from pymule.errors import PymuleError
from pymule.master.journal_export import EXPORT_FORM, UNIX
from pymule.master.journal_file import JournalFile
from pymule.master.journal_records import (
    CHANGE_COLUMNS,
    DEAD_COLUMNS,
    ROW_COLUMNS,
    SEEN_COLUMNS,
    Record,
    record_of_change,
    record_of_letter,
    record_of_seen,
    record_of_stored,
)
from pymule.master.journal_turn import inserts
from pymule.sansio.batch import pack_bodies
from pymule.sansio.body import JsonObject, write_json
from pymule.sansio.delivery import DeadLetter, DeadReason
from pymule.sansio.options import read_options
from pymule.sansio.record import Changed, SeenId, Stored
from pymule.sansio.target import MessageId

__all__ = ("BadLineError", "Imported", "import_lines")

# As senders coalesce.
_BATCH_COUNT: Final = 256
_BATCH_BYTES: Final = 64 * 1024


class BadLineError(ValueError):
    """A line is not one of an export."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(f"line {number}: {reason}")
        self.number = number


@dataclass(slots=True)
class Imported:
    """How many were imported.

    Attributes:
        renumbered: How many messages and letters have a new id.
    """

    messages: int = 0
    dead: int = 0
    message_ids: int = 0
    paused: int = 0
    renumbered: int = 0


def import_lines(file: JournalFile, read: Callable[[], Iterable[str]]) -> Imported:
    """Add to the journal what the lines tell, all of it or nothing.

    Args:
        file: An open journal.
        read: Gives the lines; called twice.

    Raises:
        BadLineError: A line is not one of an export; nothing was imported.
        sqlite3.Error: The journal cannot be written.
    """
    connection = file.connection
    sql = "SELECT next_id, next_row FROM meta"
    next_id, next_row = connection.execute(sql).fetchone()
    highest = _highest_id(_parsed(read()))
    importer = _Importer(file, next_id, next_row, highest)
    connection.execute("BEGIN IMMEDIATE")
    try:
        importer.take(_parsed(read()))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return importer.done


def _highest_id(lines: Iterable[JsonObject]) -> int:
    highest = 0
    for number, told in enumerate(lines, 1):
        try:
            highest = max(highest, _integer(told, "id", 0))
        except TypeError as exc:
            raise BadLineError(number, str(exc)) from exc
    return highest


@dataclass(slots=True)
class _Row:
    """Messages that become one row."""

    told: JsonObject
    first_id: int
    bodies: list[bytes] = field(default_factory=list)
    size: int = 0

    def takes(self, told: JsonObject, number: int, body: bytes) -> bool:
        """Tell whether one more message belongs to it."""
        return (
            number == self.first_id + len(self.bodies)
            and len(self.bodies) < _BATCH_COUNT
            and self.size + len(body) <= _BATCH_BYTES
            and "message_id" not in told
            and _common(told) == _common(self.told)
        )


def _common(told: JsonObject) -> JsonObject:
    own = ("id", "body_base64")
    return {name: value for name, value in told.items() if name not in own}


class _Importer:
    """Writes line after line, in a transaction that somebody else began."""

    def __init__(
        self, file: JournalFile, next_id: int, next_row: int, highest: int
    ) -> None:
        self.done = Imported()
        self._connection = file.connection
        self._next_id = next_id
        self._rows = count(next_row)
        self._new_ids = count(max(next_id, highest + 1))
        # Before all changes of a master, whatever its epoch.
        self._seq = count(1)
        self._kept: set[int] = set()
        self._renumbered: dict[int, int] = {}
        self._row: _Row | None = None

    def take(self, lines: Iterable[JsonObject]) -> None:
        """Write them all."""
        for number, told in enumerate(lines, 1):
            try:
                self._take(told)
            except (LookupError, TypeError, ValueError, PymuleError) as exc:
                reason = f"{type(exc).__name__}: {exc}"
                raise BadLineError(number, reason) from exc
        self._flush()
        next_id = max([next(self._new_ids), *(one + 1 for one in self._kept)])
        self._connection.execute(
            "UPDATE meta SET next_id = ?, next_row = ?", (next_id, next(self._rows))
        )

    def _take(self, told: JsonObject) -> None:
        match told.get("kind"):
            case "message":
                self._message(told)
            case "dead":
                self._letter(told)
            case "seen":
                self._seen(told)
            case "paused":
                self._put("paused", "queue", (_text(told, "queue"),))
                self.done.paused += 1
            case "journal":
                if told.get("form") != EXPORT_FORM:
                    raise ValueError(
                        f"form {told.get('form')!r}; allowed: {EXPORT_FORM}"
                    )
            case kind:
                raise ValueError(f"kind {kind!r}")

    def _id(self, told: JsonObject) -> int:
        number = _integer(told, "id")
        if number >= self._next_id and number not in self._kept:
            self._kept.add(number)
            return number
        self.done.renumbered += 1
        self._renumbered[number] = new = next(self._new_ids)
        return new

    def _message(self, told: JsonObject) -> None:
        number = self._id(told)
        body = base64.b64decode(_text(told, "body_base64"), validate=True)
        if self._row is None or not self._row.takes(told, number, body):
            self._flush()
            self._row = _Row(told, number)
        self._row.bodies.append(body)
        self._row.size += len(body)
        self.done.messages += 1

    def _flush(self) -> None:
        if self._row is None:
            return
        told, first, bodies = self._row.told, self._row.first_id, self._row.bodies
        self._row = None
        stored = Stored(
            next(self._rows),
            _text(told, "queue"),
            first,
            len(bodies),
            _options(told),
            pack_bodies(bodies),
            _number(told, "accepted_at"),
            _number(told, "due_at") if "due_at" in told else None,
            message_id=_text(told, "message_id") if "message_id" in told else None,
        )
        self._put("rows", ROW_COLUMNS, record_of_stored(stored, UNIX))
        if {"attempts", "crashes", "errors"} & told.keys():
            change = Changed(
                stored.row,
                first,
                len(bodies),
                _integer(told, "attempts", 0),
                _integer(told, "crashes", 0),
                stored.due_at,
                _errors(told),
            )
            record = record_of_change(change, next(self._seq), UNIX)
            self._put("changes", CHANGE_COLUMNS, record)

    def _letter(self, told: JsonObject) -> None:
        letter = DeadLetter(
            MessageId(self._id(told)),
            _text(told, "queue"),
            base64.b64decode(_text(told, "body_base64"), validate=True),
            _options(told),
            _integer(told, "attempts", 0),
            _integer(told, "crashes", 0),
            DeadReason[_text(told, "reason")],
            _errors(told),
            _number(told, "accepted_at"),
            _number(told, "died_at"),
        )
        self._put("dead", DEAD_COLUMNS, record_of_letter(letter, UNIX))
        self.done.dead += 1

    def _seen(self, told: JsonObject) -> None:
        number = _integer(told, "id")
        seen = SeenId(
            _text(told, "queue"),
            _text(told, "message_id"),
            self._renumbered.get(number, number),
            _number(told, "at"),
        )
        self._put("seen", SEEN_COLUMNS, record_of_seen(seen, UNIX))
        self.done.message_ids += 1

    def _put(self, table: str, columns: str, record: Record) -> None:
        for sql, parameters in inserts(table, columns, [record]):
            self._connection.execute(sql, parameters)


def _parsed(lines: Iterable[str]) -> Iterator[JsonObject]:
    for number, line in enumerate(lines, 1):
        try:
            told = json.loads(line)
        except ValueError as exc:
            raise BadLineError(number, str(exc)) from exc
        if not isinstance(told, dict) or (
            number == 1 and told.get("kind") != "journal"
        ):
            raise BadLineError(number, "not of an exported journal")
        yield told


def _text(told: JsonObject, name: str) -> str:
    value = told[name]
    if not isinstance(value, str):
        raise TypeError(f"{name} {value!r}; allowed: a text")
    return value


def _integer(told: JsonObject, name: str, default: int | None = None) -> int:
    value = told.get(name, default)
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise TypeError(f"{name} {value!r}; allowed: an integer from 0 to 2**62")
    return value


def _number(told: JsonObject, name: str) -> float:
    value = told[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} {value!r}; allowed: seconds of the Unix epoch")
    return value


def _options(told: JsonObject) -> bytes:
    value = told.get("options", {})
    if not isinstance(value, dict):
        raise TypeError(f"options {value!r}; allowed: an object")
    options = write_json(value) if value else b""
    read_options(options)
    return options


def _errors(told: JsonObject) -> tuple[JsonObject, ...]:
    value = told.get("errors", [])
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise TypeError(f"errors {value!r}; allowed: a list of objects")
    return tuple(value)
