"""What a sender may ask for a message, beside its body."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypedDict, Unpack, cast

from pymule.errors import RemoteProtocolError
from pymule.sansio.body import JsonObject, read_json, write_json

__all__ = (
    "MAX_ATTEMPTS",
    "MAX_MESSAGE_ID",
    "MAX_OPTIONS_BYTES",
    "MAX_PRIORITY",
    "MAX_SECONDS",
    "PLAIN",
    "MessageOptions",
    "OptionWords",
    "check_options",
    "pack_options",
    "read_options",
    "unpack_headers",
)

MAX_OPTIONS_BYTES: Final = 3_900
"""What a sender may add to a message: with the fields of SUBMIT, the longest target and
the length of one message it stays below the 4,096 bytes that senders keep free."""

MAX_PRIORITY: Final = 9
MAX_SECONDS: Final = 1e9
"""Longest delay, ttl or backoff: 31 years."""
MAX_ATTEMPTS: Final = 65_535
"""An attempt travels in 16 bits."""
MAX_MESSAGE_ID: Final = 255
"""Characters of a ``message_id`` or a ``key``."""


@dataclass(frozen=True, slots=True)
class MessageOptions:
    """Everything a sender may ask for; ``None`` leaves it to the queue.

    Attributes:
        delay: Seconds from its acceptance during which it is not delivered.
        at: Not delivered before, in seconds of the Unix epoch.
        priority: From 0 to :data:`MAX_PRIORITY`, which comes first.
        ttl: Seconds from its acceptance after which it is not delivered any more.
        key: Messages of a queue with the same key are delivered one at a time, in
            their order.
        message_id: A second message with this id is the first one.
        headers: Texts for the program.
        max_attempts: Here and below: see
            :class:`~pymule.sansio.delivery.DeliveryPolicy`.
    """

    delay: float = 0.0
    at: float | None = None
    priority: int = 0
    ttl: float | None = None
    key: str | None = None
    message_id: str | None = None
    headers: dict[str, str] | None = None
    max_attempts: int | None = None
    max_crashes: int | None = None
    backoff_s: float | None = None
    backoff_max_s: float | None = None
    jitter: float | None = None

    def due_at(self, now: float, wall: float) -> float | None:
        """Return the monotonic time before which it must not be delivered.

        Args:
            now: Monotonic seconds.
            wall: The same instant in seconds of the Unix epoch.
        """
        if self.at is not None:
            return now + self.at - wall if self.at > wall else None
        return now + self.delay if self.delay > 0 else None


PLAIN: Final = MessageOptions()
"""Of a message whose sender asked for nothing."""


def _seconds(value: object) -> bool:
    return _number(value) and 0 <= value <= MAX_SECONDS  # type: ignore[operator]


def _number(value: object) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
    )


def _count(value: object) -> bool:
    return (
        isinstance(value, int)
        and not isinstance(value, bool)
        and 1 <= value <= MAX_ATTEMPTS
    )


def _priority(value: object) -> bool:
    return (
        isinstance(value, int)
        and not isinstance(value, bool)
        and 0 <= value <= MAX_PRIORITY
    )


def _fraction(value: object) -> bool:
    return _number(value) and 0 <= value <= 1  # type: ignore[operator]


def _name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_MESSAGE_ID


def _texts(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(text, str) for text in value.values()
    )


_SECONDS: Final = f"0 to {MAX_SECONDS:g} seconds"
_NAME: Final = f"a text of 1 to {MAX_MESSAGE_ID} characters"
_RULES: Final[dict[str, tuple[Callable[[object], bool], str]]] = {
    "delay": (_seconds, _SECONDS),
    "at": (_number, "seconds of the Unix epoch"),
    "priority": (_priority, f"an integer from 0 to {MAX_PRIORITY}"),
    "ttl": (_seconds, _SECONDS),
    "key": (_name, _NAME),
    "message_id": (_name, _NAME),
    "headers": (_texts, "an object of texts"),
    "max_attempts": (_count, f"an integer from 1 to {MAX_ATTEMPTS}"),
    "max_crashes": (_count, f"an integer from 1 to {MAX_ATTEMPTS}"),
    "backoff_s": (_seconds, _SECONDS),
    "backoff_max_s": (_seconds, _SECONDS),
    "jitter": (_fraction, "0 to 1"),
}


class OptionWords(TypedDict, total=False):
    """The attributes of :class:`MessageOptions`, as keywords of a call."""

    delay: float
    at: float | None
    priority: int
    ttl: float | None
    key: str | None
    message_id: str | None
    headers: dict[str, str] | None
    max_attempts: int | None
    max_crashes: int | None
    backoff_s: float | None
    backoff_max_s: float | None
    jitter: float | None


def pack_options(**words: Unpack[OptionWords]) -> bytes:
    """Encode the options that differ from their defaults; none give ``b""``.

    Raises:
        TypeError: A header is not a text. The master would close the connection.
        ValueError: A value is out of its range, or they take more than
            :data:`MAX_OPTIONS_BYTES`.
    """
    headers = words.get("headers") or {}
    _check_texts((*headers, *headers.values()))
    value: JsonObject = {
        name: given
        for name, given in words.items()
        if given is not None and given != getattr(PLAIN, name)
    }
    for name, given in value.items():
        is_allowed, allowed = _RULES[name]
        if not is_allowed(given):
            raise ValueError(f"{name} {given!r}; allowed: {allowed}")
    packed = write_json(value) if value else b""
    if len(packed) > MAX_OPTIONS_BYTES:
        raise ValueError(
            f"message options of {len(packed)} bytes; allowed: {MAX_OPTIONS_BYTES}"
        )
    return packed


def _check_texts(texts: Iterable[object]) -> None:
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"{text!r} in the headers; allowed: texts")


def check_options(options: bytes, count: int) -> MessageOptions:
    """Read what a sender asked for *count* messages.

    Raises:
        RemoteProtocolError: Not the JSON of known options with possible values, or a
            ``message_id`` for more than one message.
    """
    asked = read_options(options)
    if asked.message_id is not None and count != 1:
        raise RemoteProtocolError(
            f"message_id {asked.message_id!r} for {count} messages; allowed: for one"
        )
    return asked


@lru_cache(maxsize=1024)
def _read(options: bytes) -> MessageOptions:
    value = read_json(options)
    for name, given in value.items():
        if name not in _RULES:
            raise RemoteProtocolError(
                f"unknown message option {name!r}; allowed: {', '.join(_RULES)}"
            )
        is_allowed, allowed = _RULES[name]
        if not is_allowed(given):
            raise RemoteProtocolError(f"{name} {given!r}; allowed: {allowed}")
    return MessageOptions(**cast("OptionWords", value))


def read_options(options: bytes) -> MessageOptions:
    """Read the options of a message.

    Raises:
        RemoteProtocolError: Not the JSON of known options with possible values.
    """
    return _read(options) if options else PLAIN


def unpack_headers(options: bytes) -> dict[str, str]:
    """Return the headers among the *options* of a delivered message.

    Raises:
        RemoteProtocolError: They are not a JSON object of texts.
    """
    return dict(read_options(options).headers or {})
