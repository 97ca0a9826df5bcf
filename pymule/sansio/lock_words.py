"""What a lock may be called, and how long it may be held.

Apart from the table of locks, which only the master loads.
"""

from typing import Final

__all__ = ("MAX_NAME_CHARS", "MAX_TTL_S", "check_lock_name", "check_ttl")

MAX_NAME_CHARS: Final = 255
"""Longest name of a lock."""

MAX_TTL_S: Final = 366 * 24 * 3600.0
"""Longest time after which a lock is taken from its holder."""


def check_lock_name(name: object) -> str:
    """Return the name of the lock *name*; a number is its text.

    Raises:
        ValueError: It is empty, too long, or neither text nor number.
    """
    text = str(name) if isinstance(name, int) and not isinstance(name, bool) else name
    if not isinstance(text, str) or not 0 < len(text) <= MAX_NAME_CHARS:
        raise ValueError(
            f"lock {name!r}; allowed: a text of 1 to {MAX_NAME_CHARS} characters,"
            " or an integer"
        )
    return text


def check_ttl(ttl: object) -> float | None:
    """Return after how many seconds a lock is to be taken away; ``None`` for never.

    Raises:
        ValueError: It is no number, or out of range.
    """
    if ttl is None:
        return None
    if (
        not isinstance(ttl, int | float)
        or isinstance(ttl, bool)
        or not 0 < ttl <= MAX_TTL_S
    ):
        raise ValueError(
            f"ttl {ttl!r}; allowed: seconds above 0 up to {MAX_TTL_S:.0f}, or None"
        )
    return float(ttl)
