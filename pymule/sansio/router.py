"""Where each message is, and which mule is next.

Theory of operation. A *queue* belongs to a target. A *link* is one mule process; it
asks in *lanes*, each a set of queues, and says by credit up to which position of the
lane it may be sent messages. A message of a queue goes to the lane with credit that
waited longest, and stays *leased* to that link until it is acked, nacked, returned
or the link is gone::

      submit                    deliveries                  ack
     -------> WAITING/READY ------------------> LEASED -----------> (done)
                ^     ^                          |  |  |
                |     |   returned, untouched    |  |  |  rejected, or
                |     '--------------------------'  |  |  attempts spent
                |   nack, or in hand at a death     |  |
                '-- DELAYED <-----------------------'  '----------> DEAD

What always holds: a message is in exactly one of these places; a lane has never more
delivered than its limit allowed; only what was in hand at a death spends an attempt.

A lane's *position* counts the messages sent in it. It is how a mule's scoreboard, in
which only positions are written, tells after a death which messages were untouched,
in hand, or already done although the ack was never sent.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pymule.errors import (
    LeaseLostError,
    RefusedError,
    RemoteProtocolError,
    UnknownTargetError,
)
from pymule.sansio.alarms import Alarm, AlarmKind
from pymule.sansio.batch import Batch
from pymule.sansio.body import JsonObject
from pymule.sansio.delivery import Bury, DeadReason, DeliveryPolicy
from pymule.sansio.intake import Answer, Intake
from pymule.sansio.ledger import Ledger
from pymule.sansio.link import Lane, Link, LinkId
from pymule.sansio.options import PLAIN, read_options
from pymule.sansio.places import Places
from pymule.sansio.queue import Keeping, Limits, Queue
from pymule.sansio.record import Fact, SeenId
from pymule.sansio.run import Hands, Parked, Place, Run, SenderId
from pymule.sansio.target import MessageId

__all__ = ("Absent", "Answer", "Delivery", "Losses", "Router")


Delivery = tuple[LinkId, Run]
"""To whom, and what."""


@dataclass(slots=True)
class Losses:
    """What became of the messages of a link that is gone."""

    in_hand: list[MessageId] = field(default_factory=list)
    dead: list[MessageId] = field(default_factory=list)
    untouched: int = 0
    done: int = 0


@dataclass(slots=True)
class Absent:
    """What a journal knows of a queue without messages that is not open."""

    is_paused: bool = False
    seen: list[SeenId] = field(default_factory=list)


class Router:
    """The queues, the links, and the leases between them.

    Args:
        next_id: Id of the first message.
        next_row: Number of the first row that a journal is to keep.
    """

    def __init__(self, next_id: int = 1, next_row: int = 1) -> None:
        self.queues: dict[str, Queue] = {}
        self.links: dict[LinkId, Link] = {}
        # By name: queues of functions are opened by their mules, later.
        self.absent: dict[str, Absent] = {}
        # Acks, nacks and returns of what was not leased to that link.
        self.late_count = 0
        self.next_id = next_id
        self.ledger = Ledger(next_row)
        self.places = Places(self.ledger)
        self._lines = self.places.lines
        self._intake = Intake(self.places, self._take_ids)
        # Asked for once or twice a message that comes alone, so without a call more.
        self.take_answers: Callable[[], list[Answer]] = self._intake.take_answers
        self.take_facts: Callable[[], list[Fact]] = self.ledger.take
        self.take_alarms: Callable[[], dict[Alarm, float | None]] = (
            self.places.alarms.take
        )

    def _take_ids(self, count: int) -> int:
        first_id = self.next_id
        self.next_id += count
        return first_id

    # Queues

    def open_queue(
        self,
        name: str,
        limits: Limits,
        policy: DeliveryPolicy,
        keeping: Keeping = Keeping(),  # noqa: B008  (frozen)
    ) -> Queue:
        """Make the queue *name*, or give the one that exists new rules."""
        queue = self.queues.get(name)
        if queue is None:
            queue = Queue(name, limits, policy, keeping, self.ledger)
            self.queues[name] = queue
            if name in self.absent:
                _remind(queue, self.absent.pop(name))
            return queue
        queue.change(limits, policy, keeping)
        queue.is_closed = False
        gone = queue.dead.shrink()
        if gone:
            self.ledger.dead_gone(tuple(gone))
        self._intake.admit(queue)
        return queue

    def close_queue(self, name: str) -> int:
        """Refuse new messages for *name*; return how many are left in it."""
        queue = self.queues[name]
        queue.is_closed = True
        while queue.waiting:
            self._intake.refuse(queue.waiting.popleft(), name, self._unknown(name))
        self._forget_if_done(queue)
        return queue.count

    @property
    def targets(self) -> Iterator[str]:
        """The names that a sender may use now."""
        return (q.name for q in self.queues.values() if not q.is_closed)

    # Senders

    def submit(  # noqa: PLR0917  (one caller, on the hot path)
        self,
        sender: SenderId,
        sequence: int,
        target: str,
        batch: Batch,
        options: bytes,
        now: float,
        due_at: float | None = None,
    ) -> None:
        """Take the messages of *batch* for *target*, or let them wait for room.

        The answers, for parts of the batch in their own time, come from
        :meth:`take_answers`. Nothing is delivered before *due_at*.

        Raises:
            RemoteProtocolError: The options make no sense.
        """
        asked = read_options(options) if options else PLAIN
        parked = Parked(
            sender, sequence, batch, 0, batch.count, options, asked, now, due_at
        )
        queue = self.queues.get(target)
        if queue is None or queue.is_closed:
            self._intake.refuse(parked, target, self._unknown(target))
            return
        self._intake.submit(queue, parked)

    def pass_on(
        self, sender: SenderId, sequence: int, target: str, batch: Batch, now: float
    ) -> Delivery | None:
        """Take *batch*, without options, and lease it at once; return where it goes.

        It is what :meth:`submit` and then :meth:`deliveries` would come to where a mule
        waits for it, in a third of the time. Otherwise nothing has changed.
        """
        queue = self.queues.get(target)
        if queue is None or self._intake.is_behind(sender, target):
            return None
        lane = self._lines.first_for(queue, batch.count)
        if lane is None:
            return None
        run = queue.pass_through(batch, self.next_id, now)
        if run is None:
            return None
        self.next_id += batch.count
        self._lines.lease(lane, run)
        self._intake.passed(sender, sequence, run)
        return lane.link.id, run

    def sender_gone(self, sender: SenderId) -> None:
        """Forget what *sender* had waiting: unconfirmed, it will be sent again."""
        self._intake.sender_gone(sender)

    def answer(self, target: str, answer: Answer) -> None:
        """Give *answer* when those to what its sender sent before are given."""
        self._intake.answer(target, answer)

    def refuse_waiting(self, error: RefusedError) -> None:
        """Refuse, for *error*, all that waits for room anywhere."""
        for queue in self.queues.values():
            while queue.waiting:
                self._intake.refuse(queue.waiting.popleft(), queue.name, error)

    def room_made(self, queue: Queue) -> None:
        """Messages left *queue* otherwise than by a mule's doing."""
        self._intake.admit(queue)
        self._forget_if_done(queue)

    # The journal

    def stored(self, rows: Iterable[int]) -> None:
        """The *rows* are written: confirm them, and let them go on."""
        self._intake.stored(rows)

    def not_stored(self, rows: Iterable[int], error: RefusedError) -> None:
        """The *rows* cannot be written: it is as if they had never come."""
        for queue in self._intake.not_stored(rows, error):
            self.room_made(queue)

    # Alarms

    def alarm(self, kind: AlarmKind, number: int) -> None:
        """The time of an alarm has come."""
        if kind is AlarmKind.DUE:
            self.places.due(number)
        else:
            queue = self.places.expired(number)
            if queue is not None:
                self.room_made(queue)

    # Links

    def add_link(self, number: LinkId, sources: Iterable[str]) -> None:
        """A mule process exists, which may ask for messages of *sources*."""
        self.links[number] = Link(number, frozenset(sources))

    def allow(self, number: LinkId, sources: Iterable[str]) -> None:
        """A mule process may ask for messages of *sources*, too."""
        self.links[number].sources |= frozenset(sources)

    def open_lane(self, number: LinkId, index: int, sources: Sequence[str]) -> None:
        """A link will ask for messages of *sources* in lane *index*.

        A source that a reload took away in the meantime is left out.

        Raises:
            RemoteProtocolError: The lane is open, or a source is not the link's.
        """
        link = self.links[number]
        if index in link.lanes:
            raise RemoteProtocolError(f"lane {index} is open already")
        for name in sources:
            if name not in link.sources:
                raise RemoteProtocolError(
                    f"lane {index} from {name!r}; allowed: {sorted(link.sources)}"
                )
        names = [name for name in dict.fromkeys(sources) if name in self.queues]
        link.lanes[index] = Lane(link, index, [self.queues[name] for name in names])

    def credit(self, number: LinkId, index: int, limit: int) -> None:
        """A link may be sent messages in lane *index* up to position *limit*.

        Raises:
            RemoteProtocolError: The lane is not open.
        """
        lane = self.links[number].lanes.get(index)
        if lane is None:
            raise RemoteProtocolError(f"credit for lane {index}, which is not open")
        self._lines.grant(lane, limit)

    def ack(self, number: LinkId, first_id: int, count: int, attempt: int) -> None:
        """The messages are done; what is not leased as that attempt is counted."""
        link = self.links[number]
        released = self._release(link, first_id, count, attempt)
        settle = self.places.settle
        for run in released:
            link.handled += run.count
            run.queue.acked += run.count
            settle(run)
        self._settled(link, released)

    def nack(
        self,
        number: LinkId,
        message: int,
        attempt: int,
        *,
        delay: float | None,
        is_final: bool,
        error: JsonObject,
        jitter: float,
        now: float,
    ) -> None:
        """A message failed.

        Raises:
            LeaseLostError: It is not leased to that link as that attempt.
        """
        link = self.links[number]
        released = self._release(link, message, 1, attempt)
        if not released:
            raise LeaseLostError(message, attempt)
        run = released[0]
        queue = run.queue
        queue.failed += 1
        run.failed(error)
        verdict = run.policy.after_failure(run.attempts, jitter, delay)
        if is_final:
            self.places.bury(run, Bury(DeadReason.REJECTED), now)
        elif isinstance(verdict, Bury):
            self.places.bury(run, verdict, now)
        else:
            self._try_again(queue.alone(run), verdict.delay, now)
        self._settled(link, released)

    def give_back(self, number: LinkId, first_id: int, count: int) -> None:
        """A link returns messages that no consumer has seen."""
        link = self.links[number]
        released = self._release(link, first_id, count, None)
        for run in reversed(released):
            self._requeue(run)
        self._settled(link, released)

    def drain_link(self, number: LinkId) -> None:
        """Send nothing more to a link."""
        self._lines.leave(self.links[number])

    def link_gone(
        self,
        number: LinkId,
        hands: Mapping[int, Hands],
        error: JsonObject,
        now: float,
    ) -> Losses:
        """A mule process ended: give what it had to others.

        Args:
            number: The link.
            hands: By lane, from the scoreboard; a lane that is missing had nothing
                taken.
            error: How the process ended, kept with what it had in hand.
            now: Monotonic seconds.
        """
        link = self.links.pop(number)
        self._lines.leave(link)
        losses = Losses()
        runs, link.leases = link.leases, []
        for run in reversed(runs):
            run.queue.leased -= run.count
            untouched, held, done = run.sort_out(
                hands.get(run.lane_index, _NOTHING_TAKEN)
            )
            if untouched is not None:
                losses.untouched += untouched.count
                self._requeue(untouched)
            for one in held:
                self._crashed(one, error, losses, now)
            for part in done:
                losses.done += part.count
                self._done(link, part)
        losses.in_hand.reverse()
        self._settled(link, runs)
        return losses

    def is_idle(self, number: LinkId) -> bool:
        """Whether nothing is out with that link."""
        return not self.links[number].leases

    # Deliveries

    def deliveries(self, now: float) -> list[Delivery]:
        """Lease what can be; return it in the order in which to send it.

        Each run has its ``lane_index`` set; its attempt is ``run.attempts + 1``. One
        whose batch has a row, and that is not ``is_begun``, must not leave before a
        journal has written the facts that there are now: a crash would forget the
        attempt.
        """
        deliveries = self._lines.serve(now)
        while self._lines.late:
            late = self._lines.take_late()
            for run in late:
                self.places.expire(run)
            for queue in dict.fromkeys(run.queue for run in late):
                self.room_made(queue)
            deliveries += self._lines.serve(now)
        for _, run in deliveries:
            if run.batch.row and not run.is_begun:
                self.ledger.leased(run)
        if self._intake.begun:
            self._take_back_begun()
        return deliveries

    def _take_back_begun(self) -> None:
        """Take the attempts back that were written in vain."""
        for run in self._intake.take_begun():
            # Its mule has something else now.
            if run.place is not Place.LEASED and run.place is not Place.GONE:
                self.ledger.changed(run)

    # Leases

    def _release(
        self, link: Link, first_id: int, count: int, attempt: int | None
    ) -> list[Run]:
        released = link.release(first_id, count, attempt)
        for run in released:
            run.queue.leased -= run.count
            count -= run.count
        self.late_count += count
        return released

    def _done(self, link: Link, run: Run) -> None:
        link.handled += run.count
        run.queue.acked += run.count
        self.places.settle(run)

    def _settled(self, link: Link, released: Sequence[Run]) -> None:
        """Use the room and the freedom that the end of some leases gave."""
        queues: Iterable[Queue] = (
            (released[0].queue,)
            if len(released) == 1
            else dict.fromkeys(run.queue for run in released)
        )
        for queue in queues:
            if queue.waiting:
                self._intake.admit(queue)
            if queue.is_closed:
                self._forget_if_done(queue)
        if not link.leases:
            self._lines.freed(link)

    def _crashed(self, run: Run, error: JsonObject, losses: Losses, now: float) -> None:
        run.failed(error)
        run.crashes += 1
        losses.in_hand.append(run.message)
        verdict = run.policy.after_crash(run.attempts, run.crashes)
        if isinstance(verdict, Bury):
            losses.dead.append(run.message)
            self.places.bury(run, verdict, now)
            return
        run.queue.redelivered += 1
        self._requeue(run.queue.alone(run))

    def _try_again(self, run: Run, delay: float, now: float) -> None:
        if delay <= 0:
            run.queue.redelivered += 1
            self._requeue(run)
            return
        self.ledger.changed(run, now + delay)
        self.places.put_off(run, now + delay)

    def _requeue(self, run: Run) -> None:
        self.ledger.changed(run)
        self.places.requeue(run)

    def _unknown(self, target: str) -> UnknownTargetError:
        return UnknownTargetError(target, self.targets)

    def _forget_if_done(self, queue: Queue) -> None:
        if queue.is_closed and queue.is_empty and not len(queue.dead):
            del self.queues[queue.name]
            if queue.is_paused:
                # Its name may come back, and is not paused then.
                self.ledger.paused(queue.name, is_paused=False)


def _remind(queue: Queue, absent: Absent) -> None:
    queue.is_paused = absent.is_paused
    for one in absent.seen:
        queue.seen.add(one.message_id, MessageId(one.id), one.at)


_NOTHING_TAKEN: Final = Hands(0, frozenset())
