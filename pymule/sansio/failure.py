"""What is kept of a failed attempt: bounded, whatever a mule tells."""

from typing import Final

from pymule.sansio.body import JsonObject

__all__ = ("failure",)

_TYPE_CHARS: Final = 200
_TEXT_CHARS: Final = 8_000


def failure(error: JsonObject, mule: int, at: float) -> JsonObject:
    """Return what to keep of the *error* that ended an attempt.

    Args:
        error: Of its ``type``, ``text`` and ``traceback`` the texts are kept, of the
            last one its end; nothing else.
        mule: The number of the mule.
        at: Seconds of the Unix epoch.
    """
    kept: JsonObject = {}
    for name, limit in (("type", _TYPE_CHARS), ("text", _TEXT_CHARS)):
        if isinstance(text := error.get(name), str):
            kept[name] = text[:limit]
    if isinstance(trace := error.get("traceback"), str) and trace:
        kept["traceback"] = trace[-_TEXT_CHARS:]
    return {**kept, "mule": mule, "at": at}
