"""One grammar for destinations.

=========== ===========================================================
text        meaning
=========== ===========================================================
``mule``    the first available mule (also mule 0, and ``""`` for a
            message)
``muleN``   mule number N, from 1
``farm:X``  one mule of farm X (also uWSGI's ``farm_X``)
``func:F``  a mule that has the function F; only a message can go there
``mules``   every mule; only a signal can go there, and below
``worker``  the first available worker
``workerN`` worker number N, from 1
``workers`` every worker
``""``      the first available mule, or worker where no mule has a
            handler
=========== ===========================================================

A *worker* is a client process that registered for signals.
"""

from enum import Enum
from functools import lru_cache
from typing import Final, NewType

from pymule.sansio.pattern import Pattern
from pymule.sansio.slots import frozen

__all__ = (
    "FARM_NAME",
    "FUNCTION_NAME",
    "SHARED",
    "MessageId",
    "MuleId",
    "Target",
    "TargetKind",
    "message_target",
)

MuleId = NewType("MuleId", int)
"""Number of a mule, from 1 in the order of the file."""

MessageId = NewType("MessageId", int)
"""Number of a message, from 1, never used twice by one master."""

FARM_NAME: Final = Pattern(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
"""What a farm may be called; never a path, never code to import."""

# No lone surrogate, which neither a frame nor a journal can hold.
_FUNCTION_PART: Final = r"[^\s:\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,200}"
FUNCTION_NAME: Final = Pattern(f"{_FUNCTION_PART}:{_FUNCTION_PART}")
"""What a function is called: ``module:qualified.name``."""


class TargetKind(Enum):
    """Who is meant."""

    ANY = ""
    SHARED = "mule"
    MULE = "muleN"
    MULES = "mules"
    FARM = "farm:NAME"
    FUNCTION = "func:MODULE:NAME"
    WORKER = "worker"
    WORKER_N = "workerN"
    WORKERS = "workers"


# Where a message can go, and where a signal can.
_FOR_MESSAGES: Final = frozenset(
    {TargetKind.SHARED, TargetKind.MULE, TargetKind.FARM, TargetKind.FUNCTION}
)
_FOR_SIGNALS: Final = frozenset(TargetKind) - {TargetKind.FUNCTION}
_ALL_OF_A_KIND: Final = {
    "mule": TargetKind.SHARED,
    "mules": TargetKind.MULES,
    "worker": TargetKind.WORKER,
    "workers": TargetKind.WORKERS,
}
# One of a kind, by its number.
_NUMBERED: Final = {"mule": TargetKind.MULE, "worker": TargetKind.WORKER_N}
_WITH_NUMBER: Final = Pattern("(mule|worker)([0-9]{1,9})")


@frozen
class Target:
    """Where a message or a signal goes; *number* is that of a mule or a worker."""

    kind: TargetKind
    number: int = 0
    name: str = ""

    @classmethod
    def parse(cls, text: str) -> "Target":
        """Read a target as programs and configuration files write it.

        Raises:
            ValueError: *text* is not in the grammar; says what is.
        """
        if text == "":
            return cls(TargetKind.ANY)
        if (kind := _ALL_OF_A_KIND.get(text)) is not None:
            return cls(kind)
        if text.startswith(("farm:", "farm_")) and FARM_NAME.fullmatch(text[5:]):
            return cls(TargetKind.FARM, name=text[5:])
        if text.startswith("func:") and FUNCTION_NAME.fullmatch(text[5:]):
            return cls(TargetKind.FUNCTION, name=text[5:])
        if found := _WITH_NUMBER.fullmatch(text):
            word, number = found[1], int(found[2])
            return cls(_NUMBERED[word], number) if number else cls(_ALL_OF_A_KIND[word])
        raise ValueError(
            f"target {text!r}; allowed: 'mule', 'mules', 'muleN', 'farm:NAME',"
            " 'func:MODULE:NAME', 'worker', 'workers', 'workerN'"
        )

    @classmethod
    def for_message(cls, text: str) -> "Target":
        """Read where a message goes; ``""`` is the first available mule.

        Raises:
            ValueError: It is not in the grammar, or for signals only.
        """
        target = cls.parse(text or "mule")
        if target.kind not in _FOR_MESSAGES:
            raise ValueError(
                f"target {text!r} is for signals; a message goes to one mule:"
                " 'mule', 'muleN', 'farm:NAME'"
            )
        return target

    @classmethod
    def for_signal(cls, text: str) -> "Target":
        """Read where a signal goes.

        Raises:
            ValueError: It is not in the grammar, or for messages only.
        """
        target = cls.parse(text)
        if target.kind not in _FOR_SIGNALS:
            raise ValueError(f"target {text!r} is for messages, not for signals")
        return target

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
                return f"mule{self.number}"
            case TargetKind.WORKER_N:
                return f"worker{self.number}"
            case TargetKind.FARM:
                return f"farm:{self.name}"
            case TargetKind.FUNCTION:
                return f"func:{self.name}"
            case _:
                return str(self.kind.value)


@lru_cache(maxsize=1024)
def message_target(text: str) -> str:
    """Return the canonical form of where a message goes; kept, as there are few.

    Raises:
        ValueError: It is not in the grammar, or for signals only.
    """
    return str(Target.for_message(text))


SHARED: Final = Target(TargetKind.SHARED)
"""The first available mule."""
