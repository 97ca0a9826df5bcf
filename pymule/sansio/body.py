"""What the bodies of frames are read with: JSON, texts, and the end of fixed fields."""

import json
from collections.abc import Mapping
from typing import Final

from pymule.errors import RemoteProtocolError
from pymule.sansio.frame import Opcode

__all__ = ("JsonObject", "check_end", "read_json", "read_text", "write_json")

JsonObject = dict[str, object]
"""What a verb of control carries."""


def write_json(value: Mapping[str, object]) -> bytes:
    """Encode the object of a control verb.

    Raises:
        ValueError: A number in it is NaN or infinite, which JSON cannot say.
    """
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON number")


# Made once: json.loads with a parse_constant makes one for every call.
_JSON: Final = json.JSONDecoder(parse_constant=_no_constant)


def read_json(data: bytes) -> JsonObject:
    """Decode the object of a control verb.

    Raises:
        RemoteProtocolError: *data* is not the JSON of an object.
    """
    try:
        # Not json.loads, which takes UTF-16 and UTF-32 from bytes as well.
        value = _JSON.decode(data.decode())
    except (ValueError, RecursionError) as exc:
        raise RemoteProtocolError(f"body is not JSON: {exc}") from exc
    if not isinstance(value, dict):
        raise RemoteProtocolError(f"body is a JSON {type(value).__name__}, no object")
    return value


def read_text(data: bytes) -> str:
    """Decode UTF-8.

    Raises:
        RemoteProtocolError: *data* is something else.
    """
    try:
        return data.decode()
    except UnicodeDecodeError as exc:
        raise RemoteProtocolError(f"text is not UTF-8: {exc}") from exc


def check_end(opcode: Opcode, body: bytes, told: int) -> None:
    """Check that fields of *told* bytes are all there.

    Raises:
        RemoteProtocolError: The body is shorter.
    """
    # A slice beyond the end is no error in Python, only shorter.
    if told > len(body):
        raise RemoteProtocolError(
            f"{opcode.name} with fields of {told} bytes in a body of {len(body)}"
        )
