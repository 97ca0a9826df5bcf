"""The parameters of the calls about queues: what may be in them, and what they mean."""

import math
from dataclasses import dataclass
from typing import Final

from pymule.errors import BadCallError
from pymule.sansio.delivery import DeadLetter, DeadReason
from pymule.sansio.options import MAX_SECONDS
from pymule.sansio.verbs import Call

__all__ = ("MAX_LIMIT", "Wanted", "after_of", "ids_of", "number_of", "wanted_of")

MAX_LIMIT: Final = 1_000
"""Rows that one answer has, and ids that one call names, at most."""

_SHOWN_CHARS: Final = 100
_REASONS: Final = {reason.name.lower(): reason for reason in DeadReason}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which dead letters are meant; times are monotonic seconds."""

    queue: str | None
    reason: DeadReason | None
    died_from: float
    died_until: float

    def has(self, letter: DeadLetter) -> bool:
        """Whether *letter* is one of them."""
        if self.reason is not None and letter.reason is not self.reason:
            return False
        return self.died_from <= letter.died_at <= self.died_until


def wanted_of(call: Call, queue: str | None, now: float) -> Wanted:
    """Return which dead letters of *queue* a call means.

    Raises:
        BadCallError: It says that wrongly.
    """
    reason = None
    if (word := call.value.get("reason")) is not None:
        reason = _REASONS.get(str(word))
        if reason is None:
            allowed = ", ".join(_REASONS)
            raise BadCallError(f"reason {_shown(word)}; allowed: {allowed}")
    oldest, newest = _seconds(call, "newer_than_s"), _seconds(call, "older_than_s")
    return Wanted(
        queue,
        reason,
        -math.inf if oldest is None else now - oldest,
        math.inf if newest is None else now - newest,
    )


def after_of(call: Call) -> tuple[str, float, int] | None:
    """Return where a list goes on: a queue, a time of death and an id.

    Raises:
        BadCallError: It is not what an answer had in ``next``.
    """
    match call.value.get("after"):
        case None:
            return None
        case [str(queue), int(at) | float(at), int(number)]:
            return queue, at, number
        case other:
            raise BadCallError(
                f"after {_shown(other)}; allowed: the next of another answer"
            )


def number_of(
    call: Call, key: str, least: int, most: int | None, default: int | None = None
) -> int:
    """Return the integer *key*, from *least* to *most*; *default* if there is none.

    Raises:
        BadCallError: It is something else.
    """
    number = call.value.get(key, default)
    if (
        not isinstance(number, int)
        or isinstance(number, bool)
        or number < least
        or (most is not None and number > most)
    ):
        limits = f"from {least}" if most is None else f"from {least} to {most}"
        raise BadCallError(f"{key} {_shown(number)}; allowed: an integer {limits}")
    return number


def _seconds(call: Call, key: str) -> float | None:
    seconds = call.value.get(key)
    if seconds is None:
        return None
    if (
        not isinstance(seconds, int | float)
        or isinstance(seconds, bool)
        or not 0 <= seconds <= MAX_SECONDS
    ):
        raise BadCallError(
            f"{key} {_shown(seconds)}; allowed: 0 to {MAX_SECONDS:g} seconds"
        )
    return seconds


def ids_of(call: Call) -> list[int]:
    """Return the ids that a call names.

    Raises:
        BadCallError: They are none, or too many.
    """
    ids = call.value.get("ids")
    if (
        not isinstance(ids, list)
        or len(ids) > MAX_LIMIT
        or not all(type(number) is int for number in ids)
    ):
        raise BadCallError(
            f"ids {_shown(ids)}; allowed: a list of up to {MAX_LIMIT} integers"
        )
    return ids


def _shown(value: object) -> str:
    # What was asked may be as long as a frame, and the answer must not be.
    return repr(value)[:_SHOWN_CHARS]
