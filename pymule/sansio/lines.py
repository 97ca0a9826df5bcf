"""Who gets the next message: the lanes that ask, and the queues that have something.

Theory of operation. A lane with credit stands in the *line* of each of its queues,
and the first in line is served first. A queue is *hot* while it may have both a
message and a lane for it; only hot queues are looked at. A lane that has spent its
credit stays in a line until it would be its turn; with new credit it goes back to those
that it had to leave, the one that it left first before the others, and only as far as
the credit goes. So a message costs the same however many queues its lane has, and a
lane whose queues all have something takes from them in turn.

A *suspect*, a message in whose hands a mule died, goes alone to a link that holds
nothing, which is then *solo* until the suspect is settled. While every link that asks
is busy, the queue *reserves* one: it gets nothing else, so it will be free.

What always holds: a queue reserves at most one link, and a link is reserved by at
most one queue, which has a suspect that the link has credit for.
"""

from typing import Final

from pymule.sansio.expiry import Expiry
from pymule.sansio.link import Lane, Link, LinkId
from pymule.sansio.queue import Queue
from pymule.sansio.run import Place, Run

__all__ = ("Lines",)

# Found faster than the member of the class, for each message that comes alone.
_LEASED: Final = Place.LEASED


class Lines:
    """The lines of all queues.

    Args:
        expiry: Watches what waits and has an end.
    """

    def __init__(self, expiry: Expiry) -> None:
        self._expiry = expiry
        self._hot: dict[Queue, None] = {}
        # Lanes with new credit that are missing in a line.
        self._asking: dict[Lane, None] = {}
        # Queues with a suspect that no link could take, as a rule none.
        self._suspecting: dict[Queue, None] = {}
        # Runs that were next, and whose time is over.
        self.late: list[Run] = []

    def wake(self, queue: Queue) -> None:
        """*queue* has a message that it did not have before."""
        self._hot[queue] = None

    def grant(self, lane: Lane, limit: int) -> None:
        """*lane* may be sent messages up to position *limit*."""
        lane.limit = limit
        reserver = lane.link.reserved_by
        if reserver is not None and limit <= lane.delivered:
            # The link may not be able to take the suspect any more.
            self.unreserve(reserver)
            self.wake(reserver)
        if lane.delivered < limit:
            self._join(lane)

    def freed(self, link: Link) -> None:
        """*link* holds nothing any more."""
        link.is_solo = False
        for lane in link.lanes.values():
            # As a rule it has used its credit, and the next is on its way.
            if lane.delivered < lane.limit:
                self._join(lane)

    def leave(self, link: Link) -> None:
        """Nothing more goes to *link*."""
        link.is_draining = True
        for lane in link.lanes.values():
            self._asking.pop(lane, None)
            for queue in lane.queues:
                queue.line.pop(lane, None)
        if link.reserved_by is not None:
            self.wake(link.reserved_by)
            self.unreserve(link.reserved_by)

    def unreserve(self, queue: Queue) -> None:
        """Let the link that *queue* kept free, if there is one, have other work."""
        link, queue.reserved = queue.reserved, None
        if link is not None:
            link.reserved_by = None
            self._join_all(link)

    def serve(self, now: float) -> list[tuple[LinkId, Run]]:
        """Lease what can be; return it in the order in which to send it."""
        out: list[tuple[LinkId, Run]] = []
        while self._hot:
            hot, self._hot = self._hot, {}
            for queue in hot:
                if queue.is_paused:
                    continue
                if queue.suspects:
                    self._serve_suspects(queue, out, now)
                self._serve(queue, out, now)
            if self._asking and not self._hot:
                asking, self._asking = self._asking, {}
                for lane in asking:
                    self._join(lane)
        return out

    def first_for(self, queue: Queue, count: int) -> Lane | None:
        """Return the lane that takes *count* new messages of *queue*, if clear.

        It is if nothing else is to be served, and the first in line takes them all.
        """
        if self._hot or not queue.line:
            return None
        lane = next(iter(queue.line))
        if lane.limit - lane.delivered < count or not lane.link.takes_from(queue):
            return None
        return lane

    def has_lane_for(self, queue: Queue) -> bool:
        """Whether a new message of *queue* would be delivered at once, as it seems.

        What is being stored comes before it.
        """
        return (
            len(queue.line) > queue.storing
            and not queue.ready.count
            and not queue.suspects
            and not queue.is_paused
        )

    def take_late(self) -> list[Run]:
        """Return what was found to have expired; it is in no place any more."""
        late, self.late = self.late, []
        return late

    def _join(self, lane: Lane) -> None:
        # A lane joins the line when it gets credit, so the line is both the fairness
        # rule and the load rule: a slow mule simply queues up less often.
        link = lane.link
        if lane.limit <= lane.delivered or link.is_draining or link.is_solo:
            return
        for queue in self._suspecting:
            if lane in queue.line:
                self._hot[queue] = None
        if link.reserved_by is None:
            self._go_back(lane)
        elif link.reserved_by in lane.missing:
            self._stand(lane, link.reserved_by)

    def _go_back(self, lane: Lane) -> None:
        """Let *lane* stand in the lines that it left, as far as its credit goes."""
        credit = lane.limit - lane.delivered
        missing = lane.missing
        while missing and credit > 0:
            credit -= self._stand(lane, next(iter(missing)))
        if missing:
            # Some is left if others, who stand there already, have what is ready.
            self._asking[lane] = None

    def _stand(self, lane: Lane, queue: Queue) -> int:
        """Let *lane* stand in the line of *queue*; return how much is ready there."""
        del lane.missing[queue]
        queue.line[lane] = None
        count = queue.ready.count + len(queue.suspects)
        if count:
            # To the end, so that the order is the lane's: a queue that is fed all the
            # time is hot already, and would come first for ever.
            self._hot.pop(queue, None)
            self._hot[queue] = None
        return count

    def _join_all(self, link: Link) -> None:
        for lane in link.lanes.values():
            self._join(lane)

    def _serve(self, queue: Queue, out: list[tuple[LinkId, Run]], now: float) -> None:
        ready, line = queue.ready, queue.line
        while ready.count and line:
            lane = next(iter(line))
            credit = lane.limit - lane.delivered
            if credit <= 0 or not lane.link.takes_from(queue):
                del line[lane]
                lane.missing[queue] = None
                continue
            run, rest = ready.take(credit)
            if run.expires_at is not None:
                if rest is not None:
                    self._expiry.watch(rest)
                if self._is_late(run, now):
                    continue
                self._expiry.leave(run)
            self.lease(lane, run)
            out.append((lane.link.id, run))

    def _serve_suspects(
        self, queue: Queue, out: list[tuple[LinkId, Run]], now: float
    ) -> None:
        self._suspecting.pop(queue, None)
        while queue.suspects:
            lane = self._free_lane(queue)
            if lane is None:
                self._suspecting[queue] = None
                return
            self.unreserve(queue)
            run = queue.suspects.popleft()
            if not self._is_late(run, now):
                self._expiry.leave(run)
                lane.link.is_solo = True
                self.lease(lane, run)
                out.append((lane.link.id, run))

    def _is_late(self, run: Run, now: float) -> bool:
        """Whether *run* has expired: its alarm did not ring yet."""
        if run.expires_at is None or run.expires_at > now:
            return False
        self._expiry.leave(run)
        self.late.append(run)
        return True

    def _free_lane(self, queue: Queue) -> Lane | None:
        """Return a lane whose link holds nothing; else see that there will be one."""
        busy = None
        for lane in queue.line:
            if lane.limit > lane.delivered and lane.link.takes_from(queue):
                if not lane.link.leases:
                    return lane
                busy = busy or lane
        if busy is not None and queue.reserved is None:
            queue.reserved = busy.link
            busy.link.reserved_by = queue
        return None

    def lease(self, lane: Lane, run: Run) -> None:
        """Give *run* to the link of *lane*, which has credit for it."""
        link, queue, count = lane.link, run.queue, run.count
        run.place = _LEASED
        run.lane_index = lane.index
        run.start = start = lane.delivered
        lane.delivered = delivered = start + count
        queue.leased += count
        link.lease(run)
        if delivered < lane.limit and not link.is_solo:
            queue.line.move_to_end(lane)
        else:
            del queue.line[lane]
            # The next credit of this lane serves another queue first.
            lane.missing[queue] = None
