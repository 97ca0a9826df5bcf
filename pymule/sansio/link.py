"""One mule process, as the router sees it: how it asks, and what it has."""

from bisect import bisect_right
from collections import OrderedDict
from operator import attrgetter
from typing import Final, NewType

from pymule.sansio.queue import Queue
from pymule.sansio.run import Run

__all__ = ("Lane", "Link", "LinkId")

LinkId = NewType("LinkId", int)
"""One mule process, from its start to its end; a mule has another after a respawn."""

_FIRST_ID: Final = attrgetter("first_id")


class Lane:
    """One way in which a link asks, and how far it may be served."""

    __slots__ = ("delivered", "index", "limit", "link", "missing", "queues")

    def __init__(self, link: "Link", index: int, queues: list[Queue]) -> None:
        self.link = link
        self.index = index
        self.queues = queues
        # Those in whose line it does not stand, the one that it left first before the
        # others. An OrderedDict, as the line of a queue.
        self.missing: OrderedDict[Queue, None] = OrderedDict.fromkeys(queues)
        # Both are positions: what was sent, and what may be.
        self.delivered = 0
        self.limit = 0


class Link:
    """What the router knows of one mule process.

    Args:
        number: Its id.
        sources: The queues it may ask for.
    """

    def __init__(self, number: LinkId, sources: frozenset[str]) -> None:
        self.id = number
        self.sources = sources
        self.lanes: dict[int, Lane] = {}
        # By first id, so that a range of ids is found by bisection.
        self.leases: list[Run] = []
        self.is_draining = False
        # Holds a suspect, and so nothing else.
        self.is_solo = False
        self.reserved_by: Queue | None = None
        self.handled = 0

    @property
    def leased(self) -> int:
        """Messages that are out with this link."""
        return sum(run.count for run in self.leases)

    def takes_from(self, queue: Queue) -> bool:
        """Whether a message of *queue* may go to this link now, credit apart."""
        if self.is_draining or self.is_solo:
            return False
        return self.reserved_by is None or (
            self.reserved_by is queue and not self.leases
        )

    def lease(self, run: Run) -> None:
        """Note that *run* is out with this link."""
        leases = self.leases
        if not leases or leases[-1].first_id < run.first_id:
            leases.append(run)
        else:
            leases.insert(bisect_right(leases, run.first_id, key=_FIRST_ID), run)

    def release(self, first_id: int, count: int, attempt: int | None) -> list[Run]:
        """Take *count* ids from *first_id* out of the leases; return what was there.

        Only what is leased as *attempt* counts, or as any when that is ``None``.
        """
        leases = self.leases
        end_id = first_id + count
        at = 0
        if leases and leases[0].first_id < first_id:
            at = bisect_right(leases, first_id, key=_FIRST_ID) - 1
        if at < len(leases):
            run = leases[at]
            if (
                run.first_id == first_id
                and run.count == count
                and (attempt is None or attempt == run.attempts + 1)
            ):
                # As a rule it is what was delivered.
                del leases[at]
                return [run]
        stop = at
        released: list[Run] = []
        kept: list[Run] = []
        while stop < len(leases) and leases[stop].first_id < end_id:
            run = leases[stop]
            stop += 1
            low = max(first_id, run.first_id) - run.first_id
            high = min(end_id, run.end_id) - run.first_id
            if low >= high or attempt not in (None, run.attempts + 1):
                kept.append(run)
                continue
            if low:
                kept.append(run.cut(0, low))
            if high < run.count:
                kept.append(run.cut(high, run.count - high))
            released.append(
                run if high - low == run.count else run.cut(low, high - low)
            )
        leases[at:stop] = kept
        return released
