"""One grammar for destinations.

========== ============================================================
text       meaning
========== ============================================================
``mule``   the first available programmed mule (also ``""`` and mule 0)
``muleN``  mule number N, from 1
``mules``  every mule; only a signal can go there
``farm:X`` one mule of farm X (also uWSGI's ``farm_X``)
========== ============================================================
"""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final, NewType

__all__ = ("FARM_NAME", "SHARED", "MessageId", "MuleId", "Target", "TargetKind")

MuleId = NewType("MuleId", int)
"""Number of a mule, from 1 in the order of the file."""

MessageId = NewType("MessageId", int)
"""Number of a message, from 1, never used twice by one master."""

FARM_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
"""What a farm may be called; never a path, never code to import."""


class TargetKind(Enum):
    """Who is meant."""

    SHARED = "mule"
    MULE = "muleN"
    MULES = "mules"
    FARM = "farm:NAME"


@dataclass(frozen=True, slots=True)
class Target:
    """Where a message or a signal goes."""

    kind: TargetKind
    mule: MuleId = MuleId(0)
    farm: str = ""

    @classmethod
    def parse(cls, text: str) -> "Target":
        """Read a target as programs and configuration files write it.

        Raises:
            ValueError: *text* is not in the grammar; says what is.
        """
        if text in ("", "mule"):
            return cls(TargetKind.SHARED)
        if text == "mules":
            return cls(TargetKind.MULES)
        if text.startswith(("farm:", "farm_")) and FARM_NAME.fullmatch(text[5:]):
            return cls(TargetKind.FARM, farm=text[5:])
        digits = text.removeprefix("mule")
        is_number = digits.isascii() and digits.isdigit()
        if text.startswith("mule") and is_number and len(digits) <= _MAX_DIGITS:
            number = MuleId(int(digits))
            return cls(TargetKind.MULE, number) if number else cls(TargetKind.SHARED)
        raise ValueError(
            f"target {text!r}; allowed: 'mule', 'mules', 'muleN', 'farm:NAME'"
        )

    @classmethod
    def of(cls, mule: int | None = None, farm: str | None = None) -> "Target":
        """Build the target that ``mule_msg`` and ``farm_msg`` mean.

        Raises:
            ValueError: The number is negative or the farm's name not allowed.
        """
        return cls.parse(f"farm:{farm}" if farm is not None else f"mule{mule or ''}")

    def __str__(self) -> str:
        match self.kind:
            case TargetKind.MULE:
                return f"mule{self.mule}"
            case TargetKind.FARM:
                return f"farm:{self.farm}"
            case _:
                return str(self.kind.value)


# A number of more digits is no mule, and int() of a huge one takes quadratic time.
_MAX_DIGITS = 9
SHARED: Final = Target(TargetKind.SHARED)
