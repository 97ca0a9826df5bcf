"""Queues, their messages and dead letters as a person reads them.

Nothing in it can drive a terminal, whatever bodies, errors and names contain.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from pymule.cli.table import (
    NOTHING,
    Column,
    Row,
    duration_of,
    plain,
    render_table,
    rows_of,
    shown,
    size_of,
)
from pymule.master.logs import escape_controls
from pymule.sansio.excerpt import excerpt_bytes

__all__ = (
    "queue_state",
    "render_letter",
    "render_letters",
    "render_messages",
    "render_queues",
    "time_of",
)

_INDENT: Final = "  "
_MAX_SECONDS: Final = 253_402_300_799
"""The end of the year 9999, after which datetime knows no more."""


def render_queues(queues: Sequence[Row], *, is_coloured: bool = False) -> str:
    """Return the text of ``pymule queues`` for the rows of a status."""
    return render_table(_QUEUES, queues, is_coloured=is_coloured) + "\n"


def render_messages(messages: Sequence[Row], now: float) -> str:
    """Return the text of ``pymule peek``; *now* is of the wall clock."""
    return render_table(_with_ages(_MESSAGES, now, "accepted_at"), messages) + "\n"


def render_letters(letters: Sequence[Row], now: float) -> str:
    """Return the text of ``pymule dead ls``; *now* is of the wall clock."""
    return render_table(_with_ages(_LETTERS, now, "died_at"), letters) + "\n"


def render_letter(letter: Row, now: float) -> str:
    """Return the text of ``pymule dead show``; *now* is of the wall clock."""
    errors = rows_of(letter, "errors")
    trace = str(errors[-1].get("traceback") or "") if errors else ""
    parts = [
        _facts(letter, now),
        _section("attempts", render_table(_ERRORS, errors) if errors else ""),
        _section("traceback", trace),
        _section("body", _body(letter)),
    ]
    return "\n".join(part for part in parts if part)


def _facts(letter: Row, now: float) -> str:
    options = letter.get("options")
    options = dict(options) if isinstance(options, Mapping) else {}
    headers = options.pop("headers", None)
    facts = [
        ("message", shown(letter.get("id"))),
        ("queue", shown(letter.get("queue"))),
        ("reason", shown(letter.get("reason"))),
        ("attempts", shown(letter.get("attempts"))),
        ("crashes", shown(letter.get("crashes"))),
        ("accepted", _when(letter.get("accepted_at"), now)),
        ("died", _when(letter.get("died_at"), now)),
        ("body", size_of(letter.get("body_bytes"))),
        *((f"{name}", shown(value)) for name, value in options.items()),
    ]
    if isinstance(headers, Mapping):
        facts += [("header", f"{name}: {value}") for name, value in headers.items()]
    width = max(len(escape_controls(name)) for name, _ in facts)
    return "".join(
        f"{escape_controls(name):{width}}  {escape_controls(text)}\n"
        for name, text in facts
    )


def _section(title: str, text: str) -> str:
    if not text:
        return ""
    # Not splitlines(): what it takes for an end of a line is shown as what it is.
    lines = text.removesuffix("\n").split("\n")
    return f"{title}:\n" + "".join(
        f"{_INDENT}{escape_controls(line)}".rstrip() + "\n" for line in lines
    )


def _body(row: Row) -> str:
    return excerpt_bytes(row).decode("utf-8", "backslashreplace")


def _body_in_line(row: Row) -> str:
    text = escape_controls(_body(row))
    return text + "..." if row.get("truncated") else text or NOTHING


def _when(at: object, now: float) -> str:
    time = time_of(at)
    return time if time == NOTHING else f"{time}  ({_age(at, now)} ago)"


def time_of(at: object) -> str:
    """Return seconds of the Unix epoch as a time of UTC."""
    if not isinstance(at, int | float) or not 0 <= at <= _MAX_SECONDS:
        return NOTHING
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _age(at: object, now: float) -> str:
    # The clock may have been set back since.
    return duration_of(max(now - at, 0) if isinstance(at, int | float) else None)


def _with_ages(columns: Sequence[Column], now: float, key: str) -> list[Column]:
    """Return *columns* with an AGE, since the time at *key*, before the last two."""
    age = Column("AGE", lambda row: _age(row.get(key), now), is_number=True)
    return [*columns[:-2], age, *columns[-2:]]


def queue_state(row: Row) -> str:
    """Return whether a queue takes messages and gives them away."""
    if row.get("closed"):
        return "closed"
    return "paused" if row.get("paused") else "open"


def _error(row: Row) -> str:
    error = row.get("error")
    return _error_line(error) if isinstance(error, dict) else NOTHING


def _error_line(error: Row) -> str:
    if error.get("type") is None and error.get("text") is None:
        return NOTHING
    first_line = str(error.get("text") or "").partition("\n")[0]
    return shown(f"{shown(error.get('type'))}: {first_line}")


_QUEUES: Final = (
    Column("QUEUE", plain("target")),
    Column("READY", plain("ready"), is_number=True),
    Column("LEASED", plain("leased"), is_number=True),
    Column("DELAYED", plain("delayed"), is_number=True),
    Column("DEAD", plain("dead"), is_number=True),
    Column("OLDEST", lambda row: duration_of(row.get("oldest_s")), is_number=True),
    Column("DURABILITY", plain("durability")),
    Column("STATE", queue_state),
)
_MESSAGES: Final = (
    Column("ID", plain("id"), is_number=True),
    Column("STATE", plain("state")),
    Column("DUE", lambda row: time_of(row.get("due_at"))),
    Column("ATTEMPTS", plain("attempts"), is_number=True),
    Column("PRIORITY", plain("priority"), is_number=True),
    Column("SIZE", lambda row: size_of(row.get("body_bytes")), is_number=True),
    Column("BODY", _body_in_line),
)
_LETTERS: Final = (
    Column("ID", plain("id"), is_number=True),
    Column("QUEUE", plain("queue")),
    Column("REASON", plain("reason")),
    Column("ATTEMPTS", plain("attempts"), is_number=True),
    Column("SIZE", lambda row: size_of(row.get("body_bytes")), is_number=True),
    Column("ERROR", _error),
)
_ERRORS: Final = (
    Column("ATTEMPT", plain("attempt"), is_number=True),
    Column("AT", lambda row: time_of(row.get("at"))),
    Column("MULE", plain("mule"), is_number=True),
    Column("ERROR", _error_line),
)
