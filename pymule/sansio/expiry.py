"""Messages with an end: who waits, and until when."""

from pymule.sansio.alarms import AlarmKind, Alarms
from pymule.sansio.run import Run

__all__ = ("Expiry",)


class Expiry:
    """The runs with a ttl that no mule has, by the id of their first message.

    Args:
        alarms: Is asked for a call when the time of one is over.
    """

    def __init__(self, alarms: Alarms) -> None:
        self._waiting: dict[int, Run] = {}
        self._alarms = alarms

    def __len__(self) -> int:
        return len(self._waiting)

    def watch(self, run: Run) -> None:
        """*run* waits; nothing happens if it has no end."""
        if run.expires_at is not None:
            self._waiting[run.first_id] = run
            self._alarms.arm(AlarmKind.EXPIRY, run.first_id, run.expires_at)

    def leave(self, run: Run) -> None:
        """*run* waits no more."""
        if run.expires_at is None:
            return
        if self._waiting.pop(run.first_id, None) is not None:
            self._alarms.disarm(AlarmKind.EXPIRY, run.first_id)

    def take(self, first_id: int) -> Run | None:
        """Return the run whose alarm rang, if it still waits."""
        return self._waiting.pop(first_id, None)
