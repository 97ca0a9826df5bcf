"""What a sender may ask for a message, beside its body.

The options travel as a JSON object of those that differ from their defaults, from the
sender through the master's queue to the mule; the master reads them, and nobody
changes them on the way. ``docs/messages.md`` says what each does.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypedDict, Unpack, cast

from pymule.errors import RemoteProtocolError
from pymule.sansio.body import JsonObject, read_json, write_json
from pymule.sansio.slots import frozen

if TYPE_CHECKING:
    from datetime import datetime

__all__ = (
    "MAX_AT",
    "MAX_ATTEMPTS",
    "MAX_MESSAGE_ID",
    "MAX_OPTIONS_BYTES",
    "MAX_PRIORITY",
    "MAX_SECONDS",
    "PLAIN",
    "BatchOptionWords",
    "MessageOptions",
    "OptionWords",
    "check_options",
    "pack_batch_options",
    "pack_options",
    "read_options",
    "unpack_headers",
    "unpack_options",
)

MAX_OPTIONS_BYTES: Final = 3_900
"""What a sender may add to a message: with the fields of SUBMIT, the longest target and
the length of one message it stays below the 4,096 bytes that senders keep free."""

MAX_PRIORITY: Final = 9
MAX_SECONDS: Final = 1e9
"""Longest delay, ttl or backoff: 31 years."""
MAX_AT: Final = 253_402_300_799
"""The end of the year 9999. Milliseconds, given by mistake for seconds, are above."""
MAX_ATTEMPTS: Final = 65_535
"""An attempt travels in 16 bits."""
MAX_MESSAGE_ID: Final = 255
"""Characters of a ``message_id`` or a ``key``."""

_REPR_CHARS: Final = 80


@frozen
class MessageOptions:
    """What a sender asked for; ``None`` leaves it to the queue.

    Attributes are those of :class:`OptionWords`, instants in seconds of the Unix epoch.
    Headers are left out: they are for the program, and the master, which may have a
    million of these, needs no second copy of them.
    """

    delay: float = 0.0
    at: float | None = None
    priority: int = 0
    ttl: float | None = None
    key: str | None = None
    message_id: str | None = None
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


class BatchOptionWords(TypedDict, total=False):
    """What may be asked for all messages of one call; see ``docs/messages.md``."""

    delay: float
    """Seconds from its acceptance during which a message is not delivered."""
    at: "datetime | float | None"
    """It is not delivered before; aware, or seconds of the Unix epoch."""
    priority: int
    """From 0, the default, to :data:`MAX_PRIORITY`, which comes first."""
    ttl: float | None
    """Seconds from its acceptance after which it is not delivered any more."""
    key: str | None
    """Those of a queue with the same key are delivered one at a time, in order."""
    headers: Mapping[str, str] | None
    """Texts that travel with it."""
    max_attempts: int | None
    """Deliveries, at most; here and below, instead of the value of the queue."""
    max_crashes: int | None
    """Deaths of mules that had it in hand, at most."""
    backoff_s: float | None
    """Longest wait before the second attempt; doubled for each one after."""
    backoff_max_s: float | None
    """Longest wait before any attempt."""
    jitter: float | None
    """The part of a wait that is left to chance, from 0 to 1."""


class OptionWords(BatchOptionWords, total=False):
    """What may be asked for one message: the same, and its id."""

    message_id: str | None
    """A second message with this id, for the same queue, is the first one."""


def _in_range(low: float, high: float) -> Callable[[object], bool]:
    # Comparing, which no NaN, infinity or huge integer passes, and no integer is too
    # large for, as it may be for a float.
    return lambda value: (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and low <= value <= high
    )


def _is_integer(low: int, high: int) -> Callable[[object], bool]:
    is_in_range = _in_range(low, high)
    return lambda value: isinstance(value, int) and is_in_range(value)


def _is_name(value: object) -> bool:
    return (
        isinstance(value, str) and 0 < len(value) <= MAX_MESSAGE_ID and _is_utf_8(value)
    )


def _is_utf_8(text: str) -> bool:
    """Whether *text* has no lone surrogate, which a journal could not keep."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_texts(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(text, str) for text in value.values()
    )


_SECONDS: Final = (_in_range(0, MAX_SECONDS), f"0 to {MAX_SECONDS:.0f} seconds")
_NAME: Final = (_is_name, f"a text of 1 to {MAX_MESSAGE_ID} characters")
_COUNT: Final = (_is_integer(1, MAX_ATTEMPTS), f"an integer from 1 to {MAX_ATTEMPTS}")
_RULES: Final[dict[str, tuple[Callable[[object], bool], str]]] = {
    "headers": (_is_texts, "an object of texts"),
    "delay": _SECONDS,
    "at": (_in_range(0, MAX_AT), f"0 to {MAX_AT} seconds of the Unix epoch"),
    "priority": (_is_integer(0, MAX_PRIORITY), f"an integer from 0 to {MAX_PRIORITY}"),
    "ttl": _SECONDS,
    "key": _NAME,
    "message_id": _NAME,
    "max_attempts": _COUNT,
    "max_crashes": _COUNT,
    "backoff_s": _SECONDS,
    "backoff_max_s": _SECONDS,
    "jitter": (_in_range(0, 1), "0 to 1"),
}
# What takes no bytes beside None.
_DEFAULTS: Final[JsonObject] = {"delay": 0.0, "priority": 0, "headers": {}}


# The sender's side


def pack_options(**words: Unpack[OptionWords]) -> bytes:
    """Encode the options that differ from their defaults; none give ``b""``.

    The same options give the same bytes, in whatever order they come.

    Raises:
        TypeError: There is no such option, or a header is not a text.
        ValueError: A value is out of its range, or they take more than
            :data:`MAX_OPTIONS_BYTES`. The master would close the connection.
    """
    given = {name: _as_json(name, value) for name, value in words.items()}
    value = {
        name: given[name]
        for name in _RULES
        if given.get(name) is not None and given[name] != _DEFAULTS.get(name)
    }
    if (fault := _fault_of(value)) is not None:
        raise ValueError(fault)
    packed = write_json(value) if value else b""
    if len(packed) > MAX_OPTIONS_BYTES:
        raise ValueError(_too_long(len(packed)))
    return packed


def pack_batch_options(**words: Unpack[BatchOptionWords]) -> bytes:
    """Encode the options of many messages.

    Raises:
        TypeError: As :func:`pack_options`.
        ValueError: As there; or a ``message_id``, which only one message can have.
    """
    # A type checker finds it, too.
    if (message_id := words.get("message_id")) is not None:
        raise ValueError(
            f"message_id {_shown(message_id)} for many messages; allowed: for one, sent"
            " by itself"
        )
    return pack_options(**words)


def _as_json(name: str, value: object) -> object:
    """Return the *value* of an option as it travels.

    Raises:
        TypeError: See :func:`pack_options`.
        ValueError: A time of day without its time zone.
    """
    if name not in _RULES:
        raise TypeError(_unknown(name))
    if name == "at" and not isinstance(value, int | float):
        return _as_seconds(value)
    if name == "headers" and isinstance(value, Mapping):
        headers = dict(value)
        _check_texts((*headers, *headers.values()))
        return headers
    return value


def _as_seconds(at: object) -> object:
    """Return a time of day as seconds of the Unix epoch; anything else as it is."""
    # Who has one has loaded it; others need not.
    from datetime import datetime  # noqa: PLC0415

    if not isinstance(at, datetime):
        return at
    if at.utcoffset() is None:
        raise ValueError(
            f"at {at!r} has no time zone; allowed: a datetime with tzinfo, or seconds"
            " of the Unix epoch"
        )
    return at.timestamp()


def _check_texts(texts: Iterable[object]) -> None:
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"{_shown(text)} in the headers; allowed: texts")


# The master's and the mule's side


def check_options(options: bytes, count: int) -> MessageOptions:
    """Read what a sender asked for *count* messages.

    Raises:
        RemoteProtocolError: Not the JSON of known options with possible values, too
            long, or a ``message_id`` for more than one message.
    """
    if len(options) > MAX_OPTIONS_BYTES:
        raise RemoteProtocolError(_too_long(len(options)))
    asked = read_options(options)
    if asked.message_id is not None and count != 1:
        raise RemoteProtocolError(
            f"message_id {_shown(asked.message_id)} for {count} messages; allowed: for"
            " one"
        )
    return asked


def read_options(options: bytes) -> MessageOptions:
    """Read the options of a message.

    Raises:
        RemoteProtocolError: Not the JSON of known options with possible values.
    """
    return _read(options) if options else PLAIN


# Messages that come together have the same options, and one object for them.
@lru_cache(maxsize=1024)
def _read(options: bytes) -> MessageOptions:
    value = _read_json(options)
    value.pop("headers", None)
    return MessageOptions(**value) if value else PLAIN  # type: ignore[arg-type]  # of the types checked above


def unpack_headers(options: bytes) -> dict[str, str]:
    """Return the headers among the *options* of a delivered message.

    Raises:
        RemoteProtocolError: As :func:`read_options`.
    """
    headers = unpack_options(options).get("headers", {})
    return cast("dict[str, str]", headers)


def unpack_options(options: bytes) -> JsonObject:
    """Return what a sender said, by name, as people look at it.

    Raises:
        RemoteProtocolError: As :func:`read_options`.
    """
    return _read_json(options) if options else {}


def _read_json(options: bytes) -> JsonObject:
    value = read_json(options)
    for name in value:
        if name not in _RULES:
            raise RemoteProtocolError(_unknown(name))
    if (fault := _fault_of(value)) is not None:
        raise RemoteProtocolError(fault)
    return value


# Both


def _fault_of(value: JsonObject) -> str | None:
    """Return what is wrong with the values of known options."""
    for name, given in value.items():
        is_allowed, allowed = _RULES[name]
        if not is_allowed(given):
            return f"{name} {_shown(given)}; allowed: {allowed}"
    if value.get("delay") and "at" in value:
        return f"delay {value['delay']} and at {value['at']}; allowed: one of them"
    return None


def _unknown(name: str) -> str:
    return f"unknown message option {_shown(name)}; allowed: {', '.join(_RULES)}"


def _too_long(size: int) -> str:
    return f"message options of {size} bytes; allowed: {MAX_OPTIONS_BYTES}"


def _shown(value: object) -> str:
    text = repr(value)
    if len(text) <= _REPR_CHARS:
        return text
    return f"{text[:_REPR_CHARS]}... of {len(text)} characters"
