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

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pymule.errors import (
    LeaseLostError,
    QueueFullError,
    RefusedError,
    RemoteProtocolError,
    UnknownTargetError,
)
from pymule.sansio.batch import Batch
from pymule.sansio.delivery import Bury, DeadLetter, DeadReason, DeliveryPolicy
from pymule.sansio.lines import Lines
from pymule.sansio.link import Lane, Link, LinkId
from pymule.sansio.queue import Hands, Limits, Parked, Queue, Run, SenderId
from pymule.sansio.target import MessageId

__all__ = ("Answer", "Losses", "Retry", "Router")


Answer = tuple[SenderId, int, int, int | RefusedError]
"""Sender, first sequence, count, and the first id, or why not."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Call :meth:`Router.retry_due` for message *id* in *delay* seconds."""

    id: MessageId
    delay: float


@dataclass(slots=True)
class Losses:
    """What became of the messages of a link that is gone."""

    in_hand: list[MessageId] = field(default_factory=list)
    dead: list[MessageId] = field(default_factory=list)
    untouched: int = 0
    done: int = 0


class Router:
    """The queues, the links, and the leases between them.

    Args:
        next_id: Id of the first message.
    """

    def __init__(self, next_id: int = 1) -> None:
        self.queues: dict[str, Queue] = {}
        self.links: dict[LinkId, Link] = {}
        # Acks, nacks and returns of what was not leased to that link.
        self.late_count = 0
        self._next_id = next_id
        self._delayed: dict[MessageId, Queue] = {}
        self._answers: list[Answer] = []
        self._lines = Lines()
        # Where a sender's messages wait for room.
        self._parked_of: dict[SenderId, dict[Queue, None]] = {}

    # Queues

    def open_queue(self, name: str, limits: Limits, policy: DeliveryPolicy) -> None:
        """Make the queue *name*, or give the one that exists new limits."""
        queue = self.queues.get(name)
        if queue is None:
            self.queues[name] = Queue(name, limits, policy)
            return
        queue.limits, queue.policy, queue.is_closed = limits, policy, False
        self._admit(queue)

    def close_queue(self, name: str) -> int:
        """Refuse new messages for *name*; return how many are left in it."""
        queue = self.queues[name]
        queue.is_closed = True
        while queue.waiting:
            self._refuse(queue.waiting.popleft(), self._unknown(name))
        self._forget_if_done(queue)
        return queue.count

    @property
    def targets(self) -> list[str]:
        """The names that a sender may use now."""
        return [q.name for q in self.queues.values() if not q.is_closed]

    # Senders

    def submit(  # noqa: PLR0917  (one caller, on the hot path)
        self,
        sender: SenderId,
        sequence: int,
        target: str,
        batch: Batch,
        options: bytes,
        now: float,
    ) -> None:
        """Take the messages of *batch* for *target*, or let them wait for room.

        The answers, for parts of the batch in their own time, come from
        :meth:`take_answers`.
        """
        parked = Parked(sender, sequence, batch, 0, batch.count, options, now)
        queue = self.queues.get(target)
        if queue is None or queue.is_closed:
            self._refuse(parked, self._unknown(target))
            return
        queue.waiting.append(parked)
        if len(queue.waiting) == 1:
            self._admit(queue)
        if not queue.waiting:
            return
        if queue.limits.refuses:
            self._refuse(queue.waiting.pop(), self._full(queue))
        else:
            self._parked_of.setdefault(sender, {})[queue] = None

    def sender_gone(self, sender: SenderId) -> None:
        """Forget what *sender* had waiting: unconfirmed, it will be sent again."""
        for queue in self._parked_of.pop(sender, {}):
            kept = [parked for parked in queue.waiting if parked.sender != sender]
            queue.waiting.clear()
            queue.waiting.extend(kept)
            # Those behind it may need less room.
            self._admit(queue)

    def refuse_waiting(self, error: RefusedError) -> None:
        """Refuse, for *error*, all that waits for room anywhere."""
        for queue in self.queues.values():
            while queue.waiting:
                self._refuse(queue.waiting.popleft(), error)

    def take_answers(self) -> list[Answer]:
        """Return what senders are to be told since the last call, in this order."""
        answers, self._answers = self._answers, []
        return answers

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
        for run in released:
            self._done(link, run)
        self._settled(link, released)

    def nack(
        self,
        number: LinkId,
        message: int,
        attempt: int,
        *,
        delay: float | None,
        is_final: bool,
        error: dict[str, object],
        jitter: float,
        now: float,
    ) -> Retry | None:
        """A message failed; return when to try again, unless at once or never.

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
        run.attempts += 1
        run.error = error
        verdict = queue.policy.after_failure(run.attempts, jitter, delay)
        retry = None
        if is_final:
            self._bury(run, Bury(DeadReason.REJECTED), now)
        elif isinstance(verdict, Bury):
            self._bury(run, verdict, now)
        else:
            retry = self._delay(queue.alone(run), verdict.delay)
        self._settled(link, released)
        return retry

    def give_back(self, number: LinkId, first_id: int, count: int) -> None:
        """A link returns messages that no consumer has seen."""
        link = self.links[number]
        released = self._release(link, first_id, count, None)
        for run in reversed(released):
            self._requeue(run)
        self._settled(link, released)

    def retry_due(self, message: MessageId) -> None:
        """The wait of a failed message is over."""
        queue = self._delayed.pop(message, None)
        if queue is not None:
            queue.redelivered += 1
            self._requeue(queue.delayed.pop(message))

    def drain_link(self, number: LinkId) -> None:
        """Send nothing more to a link."""
        self._lines.leave(self.links[number])

    def link_gone(
        self,
        number: LinkId,
        hands: Mapping[int, Hands],
        error: dict[str, object],
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

    def deliveries(self) -> list[tuple[LinkId, Run]]:
        """Lease what can be; return it in the order in which to send it.

        Each run has its ``lane_index`` set; its attempt is ``run.attempts + 1``.
        """
        return self._lines.serve()

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
        run.queue.settle(run)

    def _settled(self, link: Link, released: Iterable[Run]) -> None:
        """Use the room and the freedom that the end of some leases gave."""
        for queue in dict.fromkeys(run.queue for run in released):
            if queue.waiting:
                self._admit(queue)
            if queue.is_closed:
                self._forget_if_done(queue)
        if not link.leases:
            self._lines.freed(link)

    def _crashed(
        self, run: Run, error: dict[str, object], losses: Losses, now: float
    ) -> None:
        run.attempts += 1
        run.crashes += 1
        run.error = error
        message = MessageId(run.first_id)
        losses.in_hand.append(message)
        verdict = run.queue.policy.after_crash(run.attempts, run.crashes)
        if isinstance(verdict, Bury):
            losses.dead.append(message)
            self._bury(run, verdict, now)
            return
        run.queue.redelivered += 1
        self._requeue(run.queue.alone(run))

    def _delay(self, run: Run, delay: float) -> Retry | None:
        queue, message = run.queue, MessageId(run.first_id)
        if delay <= 0:
            queue.redelivered += 1
            self._requeue(run)
            return None
        queue.delayed[message] = run
        self._delayed[message] = queue
        return Retry(message, delay)

    def _requeue(self, run: Run) -> None:
        run.queue.requeue(run)
        self._lines.wake(run.queue)

    def _bury(self, run: Run, verdict: Bury, now: float) -> None:
        run.queue.dead.add(
            DeadLetter(
                id=MessageId(run.first_id),
                queue=run.queue.name,
                body=run.batch.bodies(run.first, 1)[0],
                options=run.options,
                attempts=run.attempts,
                crashes=run.crashes,
                reason=verdict.reason,
                errors=(run.error,) if run.error else (),
                accepted_at=run.at,
                died_at=now,
            )
        )
        run.queue.settle(run)

    # Room

    def _admit(self, queue: Queue) -> None:
        """Let those in that wait for room, in the order in which they came."""
        waiting = queue.waiting
        while waiting:
            parked = waiting[0]
            count = queue.room_for(parked)
            if count:
                queue.accept(parked, count, self._next_id)
                self._answers.append(
                    (parked.sender, parked.sequence, count, self._next_id)
                )
                self._next_id += count
                self._lines.wake(queue)
            elif not queue.has_room_when_empty(parked):
                # Waiting would never end.
                error = QueueFullError(queue.name, queue.limits.max_bytes, "bytes")
                self._refuse(parked.first_one(), error)
                count = 1
            else:
                return
            if count < parked.count:
                waiting[0] = parked.without(count)
            else:
                waiting.popleft()

    def _refuse(self, parked: Parked, error: RefusedError) -> None:
        self._answers.append((parked.sender, parked.sequence, parked.count, error))

    def _unknown(self, target: str) -> UnknownTargetError:
        return UnknownTargetError(target, self.targets)

    def _full(self, queue: Queue) -> QueueFullError:
        limits = queue.limits
        if queue.count >= limits.max_messages:
            return QueueFullError(queue.name, limits.max_messages)
        return QueueFullError(queue.name, limits.max_bytes, "bytes")

    def _forget_if_done(self, queue: Queue) -> None:
        if queue.is_closed and queue.is_empty and not len(queue.dead):
            del self.queues[queue.name]


_NOTHING_TAKEN: Final = Hands(0, frozenset())
