"""Which ids of senders a queue has seen lately, so that no message comes in twice."""

import math
from collections import OrderedDict
from typing import Final

from pymule.sansio.target import MessageId

__all__ = ("MAX_SEEN", "SeenIds")

MAX_SEEN: Final = 1_000_000
"""Ids that one queue remembers, whatever their age; some 200 bytes each."""


class SeenIds:
    """The ids of one queue.

    Args:
        window_s: Seconds for which one is remembered.
    """

    def __init__(self, window_s: float, max_count: int = MAX_SEEN) -> None:
        self.window_s = window_s
        self._max_count = max_count
        self._seen: OrderedDict[str, tuple[MessageId, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def find(self, message_id: str, now: float) -> MessageId | None:
        """Return the message that came with *message_id*, if that is not long ago."""
        seen = self._seen
        while seen:
            oldest = next(iter(seen))
            if seen[oldest][1] + self.window_s > now:
                break
            del seen[oldest]
        message, at = seen.get(message_id, _NEVER)
        # Its own age counts, too: what waited for room stands behind younger ones.
        return message if at + self.window_s > now else None

    def add(self, message_id: str, message: MessageId, now: float) -> None:
        """Remember that *message* came with *message_id*."""
        self._seen[message_id] = message, now
        self._seen.move_to_end(message_id)
        while len(self._seen) > self._max_count:
            self._seen.popitem(last=False)

    def forget(self, message_id: str, message: MessageId) -> None:
        """*message* did not come in after all."""
        if self._seen.get(message_id, _NEVER)[0] == message:
            del self._seen[message_id]


_NEVER: Final = None, -math.inf
