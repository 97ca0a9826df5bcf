"""What a router with a journal should do, written as naively as possible.

Where a rule leaves the router a choice, the model looks what it did, and complains if
that was not allowed: how much is let in at once, and which of several messages comes
first that expired ones made way for.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from pymule.errors import QueueFullError, RefusedError
from pymule.sansio.batch import unpack_bodies
from pymule.sansio.link import LinkId
from pymule.sansio.router import Answer
from pymule.sansio.run import Run
from pymule.sansio.upkeep import Recovery
from tests.sansio.message_model import (
    WAITING,
    Letter,
    Message,
    Piece,
    Place,
    QueueModel,
    Waiting,
    cost,
)

__all__ = ("WINDOW_S", "Entry", "LinkModel", "Model", "Snapshot")

WINDOW_S = 20.0


@dataclass(frozen=True, repr=False)
class Entry:
    """A message as a journal that is told everything now would know it."""

    message: Message
    queue: "QueueModel"
    place: Place
    attempts: int
    crashes: int
    due_at: float | None
    at: float
    expires_at: float | None
    piece: Piece
    row: int
    was_interrupted: bool


@dataclass
class Snapshot:
    entries: list[Entry] = field(default_factory=list)
    dead: list[Letter] = field(default_factory=list)
    paused: set[str] = field(default_factory=set)


@dataclass(eq=False, repr=False)
class LinkModel:
    sources: list[str]
    limit: int = 0
    sent: int = 0
    is_draining: bool = False
    handled: int = 0


class Model:
    """All queues and links, and what each act should do to them."""

    def __init__(self) -> None:
        self.queues: dict[str, QueueModel] = {}
        self.links: dict[LinkId, LinkModel] = {}
        self.messages: dict[int, Message] = {}
        # What waits for a journal and has no id that anybody was told.
        self.bodies: dict[bytes, Message] = {}
        # By sender and sequence: what it was told.
        self.fates: dict[tuple[int, int], int | RefusedError | None] = {}
        # Refused, and perhaps not told yet.
        self.refused: set[tuple[int, int]] = set()
        self.late = 0
        self.step = 0
        self.now = 0.0

    def next_step(self) -> int:
        self.step += 1
        return self.step

    def everything(self) -> Iterator[Message]:
        for queue in self.queues.values():
            yield from queue.held

    def at(self, *places: Place) -> list[Message]:
        found = (message for message in self.everything() if message.place in places)
        return sorted(found, key=lambda message: message.id)

    def leased(self, number: LinkId) -> list[Message]:
        return [m for m in self.at(Place.LEASED) if m.link == number]

    # Senders

    def answered(
        self, answers: list[Answer], new: Waiting | None, ids: set[object]
    ) -> None:
        """Senders are told something; *new* was submitted just now.

        *ids* are of all messages that the router has. What waited for room for longer
        than its ttl has come and gone, and made room for what is answered next.
        """
        for sender, first, count, result in answers:
            for sequence in range(first, first + count):
                assert self.fates.get((sender, sequence)) is None, "one answer for each"
                self.fates[sender, sequence] = result
            if not isinstance(result, RefusedError):
                self._taken(sender, first, count, result)
                self.forget_expired(ids)
        if new is not None:
            self._refuse_if_full(new)
        for sender, first, count, result in answers:
            if isinstance(result, QueueFullError):
                sequences = {(sender, n) for n in range(first, first + count)}
                assert sequences <= self.refused, "BUSY, and there is room"
        for queue in self.queues.values():
            if queue.waiting:
                assert len(queue.held) >= queue.limits.max_messages, "there is room"

    def forget_expired(self, ids: set[object]) -> None:
        """Only *ids* are in the router: others that waited have expired."""
        self.expire([m for m in self.at(*WAITING) if m.id not in ids])

    def _refuse_if_full(self, new: Waiting) -> None:
        for queue in self.queues.values():
            if new in queue.waiting and queue.limits.refuses:
                queue.waiting.remove(new)
                assert len(queue.held) >= queue.limits.max_messages
                self.refused |= {
                    (new.sender, new.sequence + n) for n in range(len(new.bodies))
                }

    def _find(self, sender: int, sequence: int) -> tuple[QueueModel, Waiting] | None:
        for queue in self.queues.values():
            for waiting in queue.waiting:
                end = waiting.sequence + len(waiting.bodies)
                if waiting.sender == sender and waiting.sequence <= sequence < end:
                    return queue, waiting
        return None

    def _cut(self, sender: int, first: int, count: int) -> tuple[QueueModel, Waiting]:
        """Take the first messages of what waits longest out of it."""
        found = self._find(sender, first)
        assert found is not None
        queue, waiting = found
        assert waiting.sequence == first, "answers keep their order"
        taken = Waiting(
            sender, first, waiting.bodies[:count], waiting.asked, waiting.at,
            waiting.due_at,
        )  # fmt: skip
        assert len(taken.bodies) == count
        del waiting.bodies[:count]
        waiting.sequence += count
        if not waiting.bodies:
            queue.waiting.remove(waiting)
        return queue, taken

    def _taken(self, sender: int, first: int, count: int, result: int | None) -> None:
        found = self._find(sender, first)
        if found is None:
            # It was taken before, and is written now.
            assert isinstance(result, int)
            for number in range(count):
                # One that had ended before a crash is known by its number only.
                message = self.messages.get(result + number)
                assert message is None or message.place is not Place.STORING
            return
        assert found[0].waiting[0] is found[1], "who came first is first"
        queue, taken = self._cut(sender, first, count)
        message_id = taken.asked.message_id
        known = queue.known(message_id, taken.at) if message_id is not None else None
        if known is not None:
            queue.deduplicated += 1
            # It is told nothing before something else of it is written.
            assert result in {None, known.id}
            assert result is None or known.place is not Place.STORING
            return
        self._accept(queue, taken, result)

    def _accept(self, queue: QueueModel, taken: Waiting, first_id: int | None) -> None:
        assert (first_id is None) == queue.is_durable
        piece, asked = Piece(cost(taken.bodies)), taken.asked
        expires_at = None if asked.ttl is None else taken.at + asked.ttl
        for offset, body in enumerate(taken.bodies):
            message = Message(
                queue, taken.sender, taken.sequence + offset, body, asked, taken.at,
                piece, queue.is_durable, taken.due_at, expires_at,
            )  # fmt: skip
            queue.held.append(message)
            self.bodies[body] = message
            if asked.message_id is not None:
                queue.seen[asked.message_id] = message, taken.at
            message.place = Place.STORING
            if first_id is not None:
                self.named(message, first_id + offset)
                self.entered(message)
        assert len(queue.held) <= queue.limits.max_messages

    def named(self, message: Message, number: int) -> None:
        assert number not in self.messages
        message.id = number
        self.messages[number] = message

    def entered(self, message: Message) -> None:
        """It is confirmed."""
        message.queue.counts["accepted"] += 1
        if message.due_at is not None:
            message.place = Place.DELAYED
        else:
            message.queue.enter(message, self.next_step())

    def not_stored(self, message: Message) -> None:
        message.leave(Place.NOWHERE)
        for message_id, seen in list(message.queue.seen.items()):
            if seen[0] is message:
                del message.queue.seen[message_id]
        del self.messages[message.id], self.bodies[message.body]

    # Mules

    def ack(self, number: LinkId, first: int, count: int, attempt: int) -> None:
        self.late += count
        for message in self.leased(number):
            if first <= message.id < first + count and message.attempts + 1 == attempt:
                self._done(message)
                self.links[number].handled += 1
                self.late -= 1

    def _done(self, message: Message) -> None:
        message.queue.counts["acked"] += 1
        message.step = self.next_step()
        message.leave(Place.DONE)

    def nack(
        self, message: Message, delay: float | None, jitter: float, *, is_final: bool
    ) -> None:
        counts = message.queue.counts
        counts["failed"] += 1
        if not message.fail(is_final=is_final):
            return
        if delay is None:
            policy = message.policy
            longest = policy.backoff_s * 2 ** (message.attempts - 1)
            delay = min(longest, policy.backoff_max_s) * jitter
        if delay > 0:
            message.put_off(self.now + delay)
        else:
            counts["redelivered"] += 1
            message.go_back()

    def link_gone(self, number: LinkId, taken: int, held: frozenset[int]) -> None:
        # From the youngest to the oldest, so that keys are freed in that order.
        for message in reversed(self.leased(number)):
            if message.position in held:
                if message.fail(crashes=1):
                    message.queue.counts["redelivered"] += 1
                    message.go_back()
            elif message.position < taken:
                self._done(message)
            else:
                message.go_back()
        del self.links[number]

    def delivered(self, number: LinkId, run: Run) -> list[Message]:
        link, queue = self.links[number], self.queues[run.queue.name]
        leased = self.leased(number)
        wanted = queue.next_ones(run)

        assert not link.is_draining
        assert not queue.is_paused
        assert queue.name in link.sources
        assert [m.id for m in wanted] == list(range(run.first_id, run.end_id))
        assert [m.body for m in wanted] == unpack_bodies(run.payload, run.count)
        assert not any(m.crashes for m in leased)
        assert not run.crashes or (run.count == 1 and not leased)
        assert run.start == link.sent
        for message in wanted:
            self._check(message, run)
            if not message.crashes:
                queue.lines[message.asked.priority].remove(message)
            message.place, message.link = Place.LEASED, number
            message.due_at, message.was_sent = None, False
            message.was_interrupted = False
            message.position = link.sent
            link.sent += 1
        assert link.sent <= link.limit
        return wanted

    def _check(self, message: Message, run: Run) -> None:
        assert (message.attempts, message.crashes) == (run.attempts, run.crashes)
        assert message.attempts < message.policy.max_attempts
        assert message.crashes < message.policy.max_crashes
        assert not message.is_late(self.now)
        assert message.due_at is None or message.due_at <= self.now
        assert not isinstance(
            self.fates.get((message.sender, message.sequence)), RefusedError
        )
        key = message.asked.key
        if key is not None:
            assert message.queue.turns[key][0] is message

    def sent(self, message: Message) -> None:
        """A mule has it now."""
        assert message.attempts + 1 >= message.least_attempt, "attempts go down"
        message.was_sent, message.least_attempt = True, message.attempts + 1

    # People

    def purge(self, queue: QueueModel) -> int:
        count = 0
        while waiting := [m for m in queue.held if m.place in WAITING]:
            for message in waiting:
                message.leave(Place.DONE)
                count += 1
        queue.counts["purged"] += count
        return count

    def replay(self, letter: Letter, queue: QueueModel) -> None:
        letter.queue.dead.remove(letter)
        message, asked = letter.message, letter.message.asked
        message.queue, message.is_durable = queue, queue.is_durable
        message.attempts = message.crashes = 0
        message.least_attempt, message.due_at, message.at = 1, None, self.now
        message.was_interrupted = False
        message.expires_at = None if asked.ttl is None else self.now + asked.ttl
        message.piece = Piece(cost([message.body]))
        queue.held.append(message)
        queue.counts["accepted"] += 1
        queue.enter(message, self.next_step())

    # Time

    def expire(self, messages: list[Message]) -> None:
        step = self.next_step()
        for message in messages:
            assert message.is_late(self.now), "its time is not over"
            message.queue.is_unsure = True
            message.queue.counts["expired"] += 1
            message.step = step
            message.leave(Place.DONE)

    def due(self, message: Message) -> None:
        assert message.due_at is not None
        assert message.due_at <= self.now
        if message.attempts:
            message.queue.counts["redelivered"] += 1
            message.go_back()
        else:
            message.queue.enter(message, self.next_step())

    # A crash

    def snapshot(self) -> Snapshot:
        return Snapshot(
            [
                Entry(
                    m, m.queue, m.place, m.attempts, m.crashes, m.due_at, m.at,
                    m.expires_at, m.piece, m.row,
                    m.was_interrupted or m.place is Place.LEASED or m.is_storing_begun,
                )
                for m in self.everything()
                if m.is_durable
            ],
            [o for q in self.queues.values() for o in q.dead if o.is_durable],
            {queue.name for queue in self.queues.values() if queue.is_paused},
        )  # fmt: skip

    def restart(self, known: Snapshot, stored: set[int]) -> Recovery:
        """Be what a journal that knows that much can make of it."""
        self.links.clear()
        recovery, self.late = Recovery(), 0
        for message in self.at(Place.LEASED):
            message.least_attempt += message.was_sent
        for queue in self.queues.values():
            queue.waiting.clear()
            queue.is_unsure = False
            queue.held.clear()
            queue.turns.clear()
            queue.lines = [[] for _ in range(10)]
            queue.bypassed = [0] * 10
            queue.dead.clear()
            queue.is_paused = queue.name in known.paused
            queue.counts = dict.fromkeys(queue.counts, 0)
            queue.deduplicated = 0
            queue.seen = {
                name: (message, at)
                for name, (message, at) in queue.seen.items()
                if message.row in stored and at + WINDOW_S > self.now
            }
        for key, fate in list(self.fates.items()):
            if fate is None:
                del self.fates[key]
        for letter in known.dead:
            letter.message.place = Place.DEAD
            letter.queue.bury(letter)
        entries = [
            entry
            for entry in known.entries
            if entry.place is not Place.STORING or entry.row in stored
        ]
        entries.sort(key=lambda entry: entry.message.id)
        self.messages = {entry.message.id: entry.message for entry in entries} | {
            letter.message.id: letter.message for letter in known.dead
        }
        for entry in entries:
            self._take_back(entry)
        for entry in entries:
            self._go_on(entry.message, recovery)
        return recovery

    def _take_back(self, entry: Entry) -> None:
        message, queue = entry.message, entry.queue
        message.queue, message.piece = queue, entry.piece
        message.attempts, message.crashes = entry.attempts, entry.crashes
        message.due_at, message.at = entry.due_at, entry.at
        message.expires_at, message.link = entry.expires_at, None
        message.place, message.row = Place.NOWHERE, entry.row
        message.is_durable, message.was_interrupted = True, entry.was_interrupted
        # What is being stored is here only if its row is written.
        is_storing_begun = entry.place is Place.STORING and message.is_begun
        message.attempts += entry.place is Place.LEASED or is_storing_begun
        queue.held.append(message)
        queue.counts["accepted"] += 1
        if message.attempts and message.asked.key is not None:
            # Who was tried has the turn of its key, and nobody else was.
            turn = queue.turns.setdefault(message.asked.key, [])
            assert not turn
            turn.append(message)

    def _go_on(self, message: Message, recovery: Recovery) -> None:
        if message.is_late(self.now):
            recovery.expired += 1
            message.queue.counts["expired"] += 1
            message.leave(Place.DONE)
            return
        recovery.interrupted += message.was_interrupted
        if message.attempts >= message.policy.max_attempts:
            recovery.dead += 1
            message.die()
            return
        recovery.queued += 1
        if message.due_at is not None and message.due_at > self.now:
            message.place = Place.DELAYED
        else:
            message.queue.enter(message, self.next_step())
