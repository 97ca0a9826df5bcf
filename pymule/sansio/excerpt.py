"""A part of a body as JSON can carry it, and back.

``body`` has it as a text if it is UTF-8, ``body_base64`` else; ``body_offset`` is where
it begins and ``body_bytes`` how long the whole is, both in bytes.
"""

import base64
import binascii
import codecs
from collections.abc import Mapping

from pymule.errors import RemoteProtocolError
from pymule.sansio.body import JsonObject

__all__ = ("excerpt", "excerpt_bytes")


def excerpt(body: bytes, offset: int = 0, limit: int | None = None) -> JsonObject:
    """Return up to *limit* bytes of *body* from *offset*; all of it without a limit.

    A text ends with a whole character, so it may have less; but as long as there is
    more and *limit* is not 0, it has something.
    """
    piece = body[offset:] if limit is None else body[offset : offset + limit]
    end = offset + len(piece)
    text = _text(piece, is_cut=end < len(body))
    if text is None:
        part = {"body_base64": base64.b64encode(piece).decode()}
    else:
        part = {"body": text}
        end = offset + len(text.encode())
    return {
        "body_bytes": len(body),
        "body_offset": offset,
        **part,
        "truncated": end < len(body),
    }


def excerpt_bytes(row: Mapping[str, object]) -> bytes:
    """Return the bytes that the excerpt in *row* has.

    Raises:
        RemoteProtocolError: There is none.
    """
    match row:
        case {"body": str(text)}:
            return text.encode("utf-8", "surrogatepass")
        case {"body_base64": str(text)}:
            try:
                return base64.b64decode(text, validate=True)
            except (binascii.Error, ValueError) as exc:
                raise RemoteProtocolError(f"body that is no base64: {exc}") from exc
        case _:
            raise RemoteProtocolError("an answer without a body")


def _text(piece: bytes, *, is_cut: bool) -> str | None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        text = decoder.decode(piece, final=not is_cut)
    except UnicodeDecodeError:
        return None
    return text if text or not piece else None
