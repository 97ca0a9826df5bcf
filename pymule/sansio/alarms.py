"""When the router wants to be called again, for which message."""

from enum import Enum

__all__ = ("Alarm", "AlarmKind", "Alarms")


class AlarmKind(Enum):
    """What there will be to do."""

    DUE = "message due"
    EXPIRY = "message expires"


Alarm = tuple[AlarmKind, int]
"""What, and the id of the first message that it is about."""


class Alarms:
    """The changes of alarms since somebody last took them.

    An alarm that is set and given up in between costs no timer at all.
    """

    def __init__(self) -> None:
        self._changed: dict[Alarm, float | None] = {}

    def arm(self, kind: AlarmKind, number: int, at: float) -> None:
        """Ask for a call at *at*, monotonic seconds, and at no other time."""
        self._changed[kind, number] = at

    def disarm(self, kind: AlarmKind, number: int) -> None:
        """Ask for no call."""
        self._changed[kind, number] = None

    def take(self) -> dict[Alarm, float | None]:
        """Return what changed; ``None`` is an alarm that is not wanted any more."""
        changed, self._changed = self._changed, {}
        return changed
