"""Spans of time as people write them: ``90s``, ``1h``, ``1d12h``."""

import re
from typing import Final

__all__ = ("seconds_in",)

_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_PART: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([smhdw])", re.ASCII)
_SPAN: Final = re.compile(f"(?:{_PART.pattern})+", re.ASCII)


def seconds_in(text: str) -> float:
    """Return how many seconds *text* is.

    Raises:
        ValueError: It is no span of time; says what is.
    """
    if not _SPAN.fullmatch(text):
        raise ValueError(
            f"{text!r} is no span of time; allowed: numbers with s, m, h, d or w,"
            " such as 90s, 1h or 1d12h"
        )
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
