"""Puts messages where they belong, and takes them away for good.

Every way into a place and out of one is here, so that counters, alarms, keys and the
journal's facts cannot disagree about where a message is.
"""

from typing import Final

from pymule.sansio.alarms import AlarmKind, Alarms
from pymule.sansio.delivery import Bury, DeadLetter
from pymule.sansio.expiry import Expiry
from pymule.sansio.ledger import Ledger
from pymule.sansio.lines import Lines
from pymule.sansio.options import PLAIN
from pymule.sansio.queue import Queue
from pymule.sansio.run import Place, Run
from pymule.sansio.target import MessageId

__all__ = ("Places",)

# Found faster than the member of the class, for each message that comes alone.
_GONE: Final = Place.GONE


class Places:
    """The places of the messages of all queues.

    Args:
        ledger: Is told what becomes of messages that a journal keeps.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.alarms = Alarms()
        self.expiry = Expiry(self.alarms)
        self.lines = Lines(self.expiry)
        self.ledger = ledger
        self._delayed: dict[MessageId, Run] = {}

    def enter(self, run: Run, due_at: float | None = None) -> None:
        """*run* is in its queue now; it may be delivered from *due_at* on."""
        if due_at is not None:
            self.put_off(run, due_at)
        elif run.asked is PLAIN and not run.crashes:
            # As a rule its sender asked for nothing.
            run.queue.ready.append(run)
            self.lines.wake(run.queue)
        elif run.asked.key is None:
            self._ready(run)
        else:
            self._line_up(run)

    def hold_key(self, run: Run) -> None:
        """Let nothing pass *run*, if it was tried before and has a key."""
        if run.attempts and run.asked.key is not None:
            run.queue.keys.hold(run, run.asked.key)

    def requeue(self, run: Run) -> None:
        """*run* was with a mule, or waited for its next attempt: it is ready again."""
        queue = run.queue
        if run.crashes:
            self._suspect(run)
        else:
            queue.ready.put_back(run)
        self.expiry.watch(run)
        self.lines.wake(queue)

    def put_off(self, run: Run, due_at: float) -> None:
        """*run* is not delivered before *due_at*."""
        run.place = Place.DELAYED
        run.due_at = due_at
        message = MessageId(run.first_id)
        self._delayed[message] = run.queue.delayed[message] = run
        run.queue.delayed_count += run.count
        self.alarms.arm(AlarmKind.DUE, run.first_id, due_at)
        self.expiry.watch(run)

    def settle(self, run: Run) -> None:
        """The messages of *run* have left for good, from a mule or a line."""
        run.place = _GONE
        queue = run.queue
        queue.settle(run)
        key = run.asked.key
        if key is not None and queue.keys.holds(run, key):
            self._start(*queue.keys.settled(key))

    def bury(self, run: Run, verdict: Bury, now: float) -> None:
        """*run*, of one message, becomes a dead letter."""
        queue = run.queue
        letter = DeadLetter(
            id=MessageId(run.first_id),
            queue=queue.name,
            body=run.batch.bodies(run.first, 1)[0],
            options=run.options,
            attempts=run.attempts,
            crashes=run.crashes,
            reason=verdict.reason,
            errors=run.errors,
            accepted_at=run.at,
            died_at=now,
            is_kept=bool(run.batch.row),
        )
        if letter.is_kept:
            self.ledger.buried(letter)
        gone = queue.dead.add(letter)
        if gone:
            self.ledger.dead_gone(tuple(gone))
        self.settle(run)

    # Alarms

    def due(self, first_id: int) -> None:
        """The time of a message that waited for it has come."""
        run = self._delayed.get(MessageId(first_id))
        if run is None:
            return
        self._fetch(run)
        if run.attempts:
            run.queue.redelivered += run.count
            self.requeue(run)
        else:
            self._line_up(run)

    def expire(self, run: Run) -> None:
        """The time of *run* is over, which is in no place."""
        run.queue.expired += run.count
        self.settle(run)

    def expired(self, first_id: int) -> Queue | None:
        """The time of a message that waited is over; return its queue."""
        run = self.expiry.take(first_id)
        if run is None:
            return None
        run.queue.expired += run.count
        self.remove(run)
        return run.queue

    def remove(self, run: Run) -> None:
        """Let *run* go, which no mule has."""
        queue = run.queue
        self.expiry.leave(run)
        match run.place:
            case Place.READY:
                queue.ready.discard(run)
            case Place.SUSPECT:
                queue.suspects.remove(run)
                if not queue.suspects:
                    self.lines.unreserve(queue)
            case Place.BLOCKED:
                queue.keys.discard(run)
            case _:
                self._fetch(run)
        self.settle(run)

    def _line_up(self, run: Run) -> None:
        key = run.asked.key
        if key is None or run.queue.keys.holds(run, key):
            self._ready(run)
        else:
            self._start(*run.queue.keys.admit(run, key))

    def _start(self, first: Run | None, rest: Run | None) -> None:
        """Let *first* go; *rest* waits behind it."""
        if rest is not None:
            self.expiry.watch(rest)
        if first is not None:
            self._ready(first)

    def _ready(self, run: Run) -> None:
        queue = run.queue
        if run.expires_at is not None:
            self.expiry.watch(run)
        if run.crashes:
            self._suspect(run)
        else:
            queue.ready.append(run)
        self.lines.wake(queue)

    def _suspect(self, run: Run) -> None:
        """Put *run* where its age places it among the suspects."""
        run.place = Place.SUSPECT
        suspects = run.queue.suspects
        depth = 0
        while depth < len(suspects) and suspects[depth].first_id < run.first_id:
            depth += 1
        suspects.insert(depth, run)

    def _fetch(self, run: Run) -> None:
        """Take *run* from those that are delayed."""
        message = MessageId(run.first_id)
        del self._delayed[message]
        del run.queue.delayed[message]
        run.queue.delayed_count -= run.count
        run.due_at = None
        self.alarms.disarm(AlarmKind.DUE, run.first_id)
