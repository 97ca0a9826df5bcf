"""What a sender may ask for a message, beside its body."""

from collections.abc import Iterable
from typing import Final

from pymule.errors import RemoteProtocolError, UnsupportedError
from pymule.sansio.verbs import JsonObject, read_json, write_json

__all__ = ("MAX_OPTIONS_BYTES", "check_options", "pack_options", "unpack_headers")

MAX_OPTIONS_BYTES: Final = 3_900
"""What a sender may add to a message: with the fields of SUBMIT, the longest target and
the length of one message it stays below the 4,096 bytes that senders keep free."""

# In the wire format from the first version, refused until the master offers them.
_PLANNED: Final = ("delay", "priority", "ttl", "key")
_KNOWN: Final = ("headers", *_PLANNED)


def pack_options(
    *,
    delay: float = 0,
    priority: int = 0,
    ttl: float | None = None,
    key: str | None = None,
    headers: dict[str, str] | None = None,
) -> bytes:
    """Encode the options that differ from their defaults; none give ``b""``.

    Raises:
        TypeError: A header is not a text. The master would close the connection.
        ValueError: They take more than :data:`MAX_OPTIONS_BYTES`.
    """
    options: JsonObject = {}
    if delay:
        options["delay"] = delay
    if priority:
        options["priority"] = priority
    if ttl is not None:
        options["ttl"] = ttl
    if key is not None:
        options["key"] = key
    if headers:
        _check_texts((*headers, *headers.values()))
        options["headers"] = headers
    packed = write_json(options) if options else b""
    if len(packed) > MAX_OPTIONS_BYTES:
        raise ValueError(
            f"message options of {len(packed)} bytes; allowed: {MAX_OPTIONS_BYTES}"
        )
    return packed


def _check_texts(texts: Iterable[object]) -> None:
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"{text!r} in the headers; allowed: texts")


def check_options(options: bytes) -> None:
    """Check what a sender asked for.

    Raises:
        UnsupportedError: An option that this master does not offer.
        RemoteProtocolError: Not the JSON of known options.
    """
    if not options:
        return
    value = read_json(options)
    for name in value:
        if name in _PLANNED:
            raise UnsupportedError(f"the message option {name!r}")
        if name not in _KNOWN:
            raise RemoteProtocolError(
                f"unknown message option {name!r}; allowed: {', '.join(_KNOWN)}"
            )
    _headers(value)


def unpack_headers(options: bytes) -> dict[str, str]:
    """Return the headers among the *options* of a delivered message.

    Raises:
        RemoteProtocolError: They are not a JSON object of texts.
    """
    return _headers(read_json(options)) if options else {}


def _headers(value: JsonObject) -> dict[str, str]:
    headers = value.get("headers", {})
    if not isinstance(headers, dict) or not all(
        isinstance(text, str) for text in headers.values()
    ):
        raise RemoteProtocolError(f"headers {headers!r}; allowed: an object of texts")
    return headers
