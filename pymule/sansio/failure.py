"""What is kept of a failed attempt: bounded, whatever a mule tells."""

from functools import lru_cache
from typing import Final

from pymule.sansio.body import JsonObject

__all__ = ("failure",)

_TYPE_CHARS: Final = 200
_TEXT_CHARS: Final = 1_000
_TRACEBACK_CHARS: Final = 8_000


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
            kept[name] = _one(text[:limit])
    if isinstance(trace := error.get("traceback"), str) and trace:
        kept["traceback"] = _one(trace[-_TRACEBACK_CHARS:])
    return {**kept, "mule": mule, "at": at}


# When what all messages need is away, a million of them fail with the same words, and
# all are kept: 100,000 with a traceback of 1.4 kB took 247 MB, and take 98 MB so.
@lru_cache(maxsize=256)
def _one(text: str) -> str:
    """Return the same object for the same words, as long as they are heard often."""
    return text
