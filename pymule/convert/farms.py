"""uWSGI's farms, with names and mules that ours may have."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from pymule.sansio.target import FARM_NAME

__all__ = ("Farm", "read_farm")

_MAX_NAME: Final = 64
_MULE: Final = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Farm:
    """A farm, or what is left of it.

    Args:
        name: Allowed here, and no other's.
        mules: Those that exist, each once; if empty, the farm cannot be here.
        changes: What is not as it was written; empty if all is.
    """

    name: str
    mules: tuple[int, ...]
    changes: str


def read_farm(value: str, last: int, names: Mapping[str, str]) -> Farm:
    """Return the farm of ``farm = NAME:1,2``.

    Args:
        value: What is behind the equals sign.
        last: The highest number of a mule.
        names: Of the farms before it, as they were written and as they are here.
    """
    written, colon, numbers = value.partition(":")
    if not colon or not written:
        return Farm("", (), "is no farm, left out; allowed: NAME:1,2")
    mules, dropped = _mules(numbers, last)
    changes = []
    name = _allowed(written)
    if written in names:
        # uWSGI finds the first of a name, so nobody ever reached this one.
        return Farm(
            "", (), f"left out; {written!r} always means the first of that name"
        )
    if name != written or name in names.values():
        name = _free(name, names.values())
        changes.append(f"is called {name!r} here, in calls of farm_msg too")
    if dropped:
        changes.append(
            f"without {', '.join(dropped)}; there are 1 to {last}, each once"
        )
    if not mules:
        changes = ["left out; none of its mules exist"]
    return Farm(name, mules, "; ".join(changes))


def _mules(numbers: str, last: int) -> tuple[tuple[int, ...], list[str]]:
    mules: list[int] = []
    dropped = []
    for text in filter(None, (part.strip() for part in numbers.split(","))):
        number = int(text) if _MULE.fullmatch(text) else 0
        if 1 <= number <= last and number not in mules:
            mules.append(number)
        else:
            dropped.append(repr(text) if not number else text)
    return tuple(mules), dropped


def _allowed(name: str) -> str:
    allowed = re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:_MAX_NAME]
    return allowed if FARM_NAME.fullmatch(allowed) else f"_{allowed}"[:_MAX_NAME]


def _free(name: str, taken: Collection[str]) -> str:
    free, number = name, 2
    while free in taken:
        suffix = f"_{number}"
        free = name[: _MAX_NAME - len(suffix)] + suffix
        number += 1
    return free
