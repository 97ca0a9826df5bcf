"""What people do to queues: look, hold, empty, and try dead letters again.

And what a new master does first: take back what a journal kept.
"""

import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from pymule.errors import QueueFullError, UnknownTargetError
from pymule.sansio.batch import Batch, pack_bodies
from pymule.sansio.body import JsonObject
from pymule.sansio.delivery import Bury, DeadLetter, DeadReason, DeliveryPolicy
from pymule.sansio.functions import is_function
from pymule.sansio.options import MAX_ATTEMPTS, read_options
from pymule.sansio.queue import Keeping, Limits, Queue
from pymule.sansio.record import Durability, Recovered, Share, Stored, StoredRow
from pymule.sansio.router import Absent, Router
from pymule.sansio.run import Parked, Place, Run
from pymule.sansio.target import MessageId

__all__ = ("Peeked", "Recovery", "Upkeep")


@dataclass(frozen=True, slots=True)
class Peeked:
    """A message as it waits; times are monotonic seconds."""

    id: MessageId
    queue: str
    state: str
    attempts: int
    crashes: int
    accepted_at: float
    due_at: float | None
    expires_at: float | None
    priority: int
    options: bytes
    body: bytes


@dataclass(slots=True)
class Recovery:
    """What became of the messages that a journal kept."""

    queued: int = 0
    dead: int = 0
    expired: int = 0
    # Those that mules had when the master died, and that are queued again.
    interrupted: int = 0


class Upkeep:
    """Reads and changes the queues of *router* for the people who run it.

    Everywhere a queue that is not there is a KeyError.
    """

    def __init__(self, router: Router) -> None:
        self._router = router
        self._functions = _NO_RULES

    def peek(self, name: str, limit: int, skip: int = 0) -> Iterator[Peeked]:
        """Iterate over messages that wait, in the order of delivery or nearly.

        Nothing is leased: they stay where they are. Each body is copied as its
        message comes, because all of them may be as much as the queue holds.
        """
        runs = self._router.queues[name].waiting_runs()
        messages = ((run, offset) for run in runs for offset in range(run.count))
        return (_peeked(*item) for item in islice(messages, skip, skip + limit))

    def pause(self, name: str) -> bool:
        """Let a queue accept, and deliver nothing; tell whether that is new."""
        queue = self._router.queues[name]
        if queue.is_paused:
            return False
        queue.is_paused = True
        self._router.places.lines.unreserve(queue)
        self._router.ledger.paused(name, is_paused=True)
        return True

    def resume(self, name: str) -> bool:
        """Let a paused queue deliver again; tell whether it was paused."""
        queue = self._router.queues[name]
        if not queue.is_paused:
            return False
        queue.is_paused = False
        self._router.places.lines.wake(queue)
        self._router.ledger.paused(name, is_paused=False)
        return True

    def purge(self, name: str, most: int) -> int:
        """Drop what waits in a queue, not what mules have; return how many.

        Args:
            name: Of the queue.
            most: Batches that are dropped, at most: each takes a few microseconds.
        """
        queue = self._router.queues[name]
        count = 0
        # A message of a key that leaves lets the next one of it come.
        while most > 0 and (runs := list(islice(queue.waiting_runs(), most))):
            most -= len(runs)
            for run in runs:
                if run.place is not Place.GONE:
                    count += run.count
                    self._router.places.remove(run)
        queue.purged += count
        self._router.room_made(queue)
        return count

    # Dead letters

    def dead_letters(self, name: str | None = None) -> Iterator[DeadLetter]:
        """Iterate over those of one queue or of all, the oldest of each first."""
        if name is not None:
            return iter(self._router.queues[name].dead)
        queues = list(self._router.queues.values())
        return (letter for queue in queues for letter in queue.dead)

    def find_dead(self, message: MessageId) -> DeadLetter | None:
        """Return the dead letter with this id."""
        for queue in self._router.queues.values():
            letter = queue.dead.get(message)
            if letter is not None:
                return letter
        return None

    def replay(self, letter: DeadLetter, target: str | None, now: float) -> None:
        """Put a dead letter into its queue again, or into that of *target*.

        It keeps its id; its attempts start again.

        Raises:
            UnknownTargetError: There is no such queue, or it is closed.
            QueueFullError: There is no room.
        """
        name = target or letter.queue
        queue = self._router.queues.get(name)
        if queue is None or queue.is_closed:
            raise UnknownTargetError(name, self._router.targets)
        batch = Batch(1, pack_bodies([letter.body]))
        asked = read_options(letter.options)
        parked = Parked(0, 0, batch, 0, 1, letter.options, asked, now)
        if not queue.room_for(parked):
            raise QueueFullError(name, queue.limits.max_messages)
        run = queue.accept(parked, 1, letter.id)
        queue.accepted += 1
        if queue.keeping.durability is not Durability.MEMORY:
            self._router.ledger.keep(run)
        # After that, so that no moment is without it.
        self.purge_dead([letter])
        self._router.places.enter(run)

    def purge_dead(self, letters: Iterable[DeadLetter]) -> int:
        """Forget dead letters for good; return how many were there."""
        gone, kept = 0, []
        for letter in list(letters):
            queue = self._router.queues.get(letter.queue)
            if queue is None or queue.dead.get(letter.id) is None:
                continue
            queue.dead.remove(letter.id)
            self._router.room_made(queue)
            gone += 1
            if letter.is_kept:
                kept.append(int(letter.id))
        if kept:
            self._router.ledger.dead_gone(tuple(kept))
        return gone

    # The start

    def recover(
        self,
        recovered: Recovered,
        now: float,
        functions: tuple[DeliveryPolicy, Keeping] | None = None,
    ) -> Recovery:
        """Take back what a journal kept; the queues of the plan are open.

        A queue that is not, is opened and closed: its messages wait for its return.

        Args:
            recovered: What there is.
            now: Monotonic seconds.
            functions: The rules of those queues that mules will open.
        """
        if functions is not None:
            self._functions = functions
        router = self._router
        router.next_id = max(router.next_id, recovered.next_id)
        router.ledger.next_row = recovered.next_row
        recovery = Recovery()
        for letter in recovered.dead:
            gone = self._queue(letter.queue).dead.add(letter)
            if gone:
                router.ledger.dead_gone(tuple(gone))
        found = self._take_back(recovered.rows)
        for run, _ in found:
            router.places.hold_key(run)
        for run, due_at in found:
            self._go_on(run, due_at, recovery, now)
        self._remember(recovered)
        for queue in list(router.queues.values()):
            router.room_made(queue)
        return recovery

    def _remember(self, recovered: Recovered) -> None:
        queues, absent = self._router.queues, self._router.absent
        for seen in recovered.seen:
            if seen.queue in queues:
                ids = queues[seen.queue].seen
                ids.add(seen.message_id, MessageId(seen.id), seen.at)
            else:
                absent.setdefault(seen.queue, Absent()).seen.append(seen)
        for name in recovered.paused:
            if name in queues:
                queues[name].is_paused = True
            else:
                absent.setdefault(name, Absent()).is_paused = True

    def _queue(self, name: str) -> Queue:
        queue = self._router.queues.get(name)
        if queue is None:
            rules = self._functions if is_function(name) else _NO_RULES
            queue = self._router.open_queue(name, Limits(), *rules)
            queue.is_closed = True
        return queue

    def _take_back(self, rows: Iterable[StoredRow]) -> list[tuple[Run, float | None]]:
        """Return the messages of *rows* in the order of their ids, and when due."""
        found = []
        for row in rows:
            stored = row.stored
            queue = self._queue(stored.queue)
            batch = Batch(stored.count, stored.payload)
            batch.row = stored.row
            count = 0
            for share in row.shares:
                count += share.count
                found.append((_run_of(queue, batch, stored, share), share.due_at))
            batch.unsettled = count
            errors = row.shares[0].errors if stored.count == 1 else ()
            queue.charge(batch, stored.options, errors)
            queue.count += count
            queue.accepted += count
        # A message that was taken out of its batch has a young row, and an old id.
        found.sort(key=lambda item: item[0].first_id)
        return found

    def _go_on(
        self, run: Run, due_at: float | None, recovery: Recovery, now: float
    ) -> None:
        places = self._router.places
        if run.expires_at is not None and run.expires_at <= now:
            recovery.expired += run.count
            places.expire(run)
            return
        if _was_interrupted(run):
            recovery.interrupted += run.count
            run.attempts -= 1
            run.failed(_MASTER_DIED)
        if run.attempts and run.attempts >= run.policy.max_attempts:
            recovery.dead += run.count
            for offset in range(run.count):
                places.bury(run.cut(offset, 1), Bury(DeadReason.ATTEMPTS), now)
            return
        recovery.queued += run.count
        is_due = due_at is None or due_at <= now
        places.enter(run, None if is_due else due_at)


# Nobody knows those of a queue that was taken away, so nothing is given up by them: the
# next plan that has the queue decides.
_NO_RULES: Final = (
    DeliveryPolicy(max_attempts=MAX_ATTEMPTS, max_crashes=MAX_ATTEMPTS),
    Keeping(Durability.DISK, dead_max_messages=sys.maxsize, dedupe_s=math.inf),
)

_MASTER_DIED: JsonObject = {
    "type": "MasterDied",
    "text": "the master died while a mule had the message",
}


def _run_of(queue: Queue, batch: Batch, stored: Stored, share: Share) -> Run:
    first = share.first_id - stored.first_id
    run = Run(queue, batch, first, share.count, share.first_id)
    run.options, run.asked = stored.options, read_options(stored.options)
    run.at = stored.accepted_at
    run.attempts, run.crashes = share.attempts, share.crashes
    run.errors = share.errors
    if run.asked.ttl is not None:
        run.expires_at = run.at + run.asked.ttl
    return run


def _was_interrupted(run: Run) -> bool:
    """Whether its last attempt has told nothing: a mule had it."""
    told = run.errors[-1].get("attempt") if run.errors else 0
    return run.attempts != told


def _peeked(run: Run, offset: int) -> Peeked:
    return Peeked(
        MessageId(run.first_id + offset),
        run.queue.name,
        run.place.value,
        run.attempts,
        run.crashes,
        run.at,
        run.due_at,
        run.expires_at,
        run.asked.priority,
        run.options,
        run.batch.bodies(run.first + offset, 1)[0],
    )
