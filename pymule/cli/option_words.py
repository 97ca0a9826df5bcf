"""The options of a message, as the words of ``pymule send``."""

from datetime import datetime
from typing import Annotated, Final

import typer

from pymule.sansio.options import OptionWords, pack_options

__all__ = (
    "AtOption",
    "DelayOption",
    "HeaderOption",
    "KeyOption",
    "MaxAttemptsOption",
    "MessageIdOption",
    "PriorityOption",
    "TtlOption",
    "packed_words",
    "time_of",
)

DelayOption = Annotated[
    float | None,
    typer.Option("--delay", metavar="S", help="Not delivered for so many seconds."),
]
AtOption = Annotated[
    str | None,
    typer.Option(
        "--at",
        metavar="TIME",
        help="Not delivered before: ISO 8601 with its zone, or seconds since 1970.",
    ),
]
PriorityOption = Annotated[
    int | None,
    typer.Option("--priority", metavar="N", help="0, the default, to 9, the first."),
]
TtlOption = Annotated[
    float | None,
    typer.Option("--ttl", metavar="S", help="Not delivered after so many seconds."),
]
KeyOption = Annotated[
    str | None,
    typer.Option(
        "--key", metavar="KEY", help="With the same key, one at a time and in order."
    ),
]
MessageIdOption = Annotated[
    str | None,
    typer.Option(
        "--message-id", metavar="ID", help="A second message with this id is dropped."
    ),
]
HeaderOption = Annotated[
    list[str] | None,
    typer.Option("--header", metavar="K=V", help="A text for the program; repeatable."),
]
MaxAttemptsOption = Annotated[
    int | None,
    typer.Option("--max-attempts", metavar="N", help="Deliveries, at most."),
]

_TIMES: Final = "allowed: as 2030-01-31T12:00:00Z or +02:00, or seconds since 1970"


def packed_words(
    *, at: str | None, header: list[str] | None, words: OptionWords
) -> bytes:
    """Return the options that travel with the messages.

    Args:
        at: As it was written.
        header: As they were written.
        words: The others.

    Raises:
        typer.BadParameter: One of them is not possible.
    """
    try:
        when = None if at is None else time_of(at)
        headers = dict(_pair(text) for text in header or ())
        asked: OptionWords = {**words, "at": when, "headers": headers}
        return pack_options(**asked)
    except ValueError as exc:
        raise typer.BadParameter(str(exc)) from None


def time_of(text: str) -> datetime | float:
    """Return the instant that *text* says: seconds since 1970, or ISO 8601.

    Raises:
        ValueError: It says something else.
    """
    try:
        return float(text)
    except ValueError:
        pass
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"--at {text!r}; {_TIMES}") from None
    if when.utcoffset() is None:
        raise ValueError(f"--at {text!r} has no time zone; {_TIMES}")
    return when


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise ValueError(f"--header {text!r}; allowed: NAME=VALUE")
    return name, value
