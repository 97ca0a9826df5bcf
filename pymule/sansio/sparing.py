"""When something that others can make happen at will is worth a record of the log."""

__all__ = ("Sparing",)


class Sparing:
    """Lets one record through in so many seconds, and counts for the next.

    Args:
        every_s: Seconds between two records.
    """

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._next_at = 0.0
        self._count = 0

    def happened(self, now: float) -> int:
        """Note that it happened; return how often since the last record, or 0.

        What is not 0 is to be recorded now.
        """
        self._count += 1
        if now < self._next_at:
            return 0
        count, self._count = self._count, 0
        self._next_at = now + self._every_s
        return count
