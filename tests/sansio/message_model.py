"""A message with options, and its queue, as naively as possible."""

from dataclasses import dataclass, field
from enum import Enum

from pymule.sansio.delivery import DeliveryPolicy
from pymule.sansio.link import LinkId
from pymule.sansio.options import MessageOptions
from pymule.sansio.queue import Keeping, Limits
from pymule.sansio.ready import MAX_BYPASS
from pymule.sansio.record import Durability
from pymule.sansio.run import BATCH_OVERHEAD_BYTES, Run

__all__ = (
    "WAITING",
    "Letter",
    "Message",
    "Piece",
    "Place",
    "QueueModel",
    "Waiting",
    "cost",
)


class Place(Enum):
    NOWHERE = "nowhere"
    STORING = "storing"
    READY = "ready"
    SUSPECT = "suspect"
    DELAYED = "delayed"
    BLOCKED = "blocked"
    LEASED = "leased"
    DEAD = "dead"
    DONE = "done"


WAITING = (Place.READY, Place.SUSPECT, Place.DELAYED, Place.BLOCKED)


@dataclass(eq=False, repr=False)
class Piece:
    """What was accepted together shares its memory until the last of it is gone."""

    size: int


@dataclass(eq=False, repr=False)
class Message:
    queue: "QueueModel"
    sender: int
    sequence: int
    body: bytes
    asked: MessageOptions
    at: float
    piece: Piece
    is_durable: bool
    due_at: float | None
    expires_at: float | None
    id: int = 0
    place: Place = Place.NOWHERE
    attempts: int = 0
    crashes: int = 0
    row: int = 0
    # When it became ready; of several that share a step, any may be the first.
    step: int = 0
    link: LinkId | None = None
    position: int = 0
    # Whether the mule has it: a journal had to be written first.
    was_sent: bool = False
    # The journal has its first attempt as begun, with its row.
    is_begun: bool = False
    # The journal does not know yet how its last attempt ended.
    was_interrupted: bool = False
    # No mule may get it as an earlier attempt.
    least_attempt: int = 1

    def __repr__(self) -> str:
        return f"<{self.id} {self.body!r} {self.place.value}>"

    @property
    def is_storing_begun(self) -> bool:
        return self.place is Place.STORING and self.is_begun

    @property
    def policy(self) -> DeliveryPolicy:
        return self.queue.policy.adjusted(self.asked)

    def is_late(self, now: float) -> bool:
        return self.expires_at is not None and self.expires_at <= now

    def leave(self, place: Place) -> None:
        """Go where no key, no memory and no mule is held."""
        self.place, self.link = place, None
        self.queue.held.remove(self)
        self.queue.free_key(self)

    def fail(self, *, crashes: int = 0, is_final: bool = False) -> bool:
        """Spend an attempt; tell whether there are more."""
        self.attempts += 1
        self.least_attempt = self.attempts + 1
        self.crashes += crashes
        policy = self.policy
        is_spent = self.attempts >= policy.max_attempts
        if is_final or is_spent or (crashes and self.crashes >= policy.max_crashes):
            self.die()
            return False
        if self.piece.size != cost([self.body]):
            self.piece = Piece(cost([self.body]))
        return True

    def die(self) -> None:
        self.leave(Place.DEAD)
        letter = Letter(self, self.queue, self.attempts, self.crashes, self.is_durable)
        self.queue.bury(letter)

    def go_back(self) -> None:
        """Come from a mule, or from a wait for the next attempt."""
        self.link, self.due_at = None, None
        self.place = Place.SUSPECT if self.crashes else Place.READY
        if not self.crashes:
            self.queue.put_back(self)

    def put_off(self, due_at: float) -> None:
        self.link, self.due_at, self.place = None, due_at, Place.DELAYED


@dataclass(frozen=True, repr=False)
class Letter:
    # The default would show everything there is.
    def __repr__(self) -> str:
        return f"<dead {self.message.id}>"

    message: Message
    queue: "QueueModel"
    attempts: int
    crashes: int
    is_durable: bool


@dataclass(eq=False, repr=False)
class Waiting:
    sender: int
    sequence: int
    bodies: list[bytes]
    asked: MessageOptions
    at: float
    due_at: float | None


@dataclass(eq=False, repr=False)
class QueueModel:
    name: str
    limits: Limits
    keeping: Keeping
    policy: DeliveryPolicy
    is_paused: bool = False
    waiting: list[Waiting] = field(default_factory=list)
    held: list[Message] = field(default_factory=list)
    # By priority: what is ready, in order.
    lines: list[list[Message]] = field(default_factory=lambda: [[] for _ in range(10)])
    # By key: who has the turn, and who waits for it.
    turns: dict[str, list[Message]] = field(default_factory=dict)
    dead: list[Letter] = field(default_factory=list)
    # By message_id: who came last with it, and when.
    seen: dict[str, tuple[Message, float]] = field(default_factory=dict)
    # By priority: how often it was passed over since it last came before a higher one.
    bypassed: list[int] = field(default_factory=lambda: [0] * 10)
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(
            ("accepted", "acked", "failed", "redelivered", "expired", "purged"), 0
        )
    )
    deduplicated: int = 0
    # Something expired while others were delivered: what was ready then is not known.
    is_unsure: bool = False

    @property
    def is_durable(self) -> bool:
        return self.keeping.durability is not Durability.MEMORY

    @property
    def size(self) -> int:
        return sum({id(m.piece): m.piece.size for m in self.held}.values())

    def at(self, place: Place) -> list[Message]:
        found = (message for message in self.held if message.place is place)
        return sorted(found, key=lambda message: message.id)

    def enter(self, message: Message, step: int) -> None:
        """The message is new here, or its first time has come: it is the last."""
        message.step = step
        key = message.asked.key
        if key is not None:
            turn = self.turns.setdefault(key, [])
            if message not in turn:
                turn.append(message)
            if turn[0] is not message:
                message.place = Place.BLOCKED
                return
        message.due_at = None
        message.place = Place.SUSPECT if message.crashes else Place.READY
        if not message.crashes:
            self.lines[message.asked.priority].append(message)

    def put_back(self, message: Message) -> None:
        line = self.lines[message.asked.priority]
        younger = (n for n, other in enumerate(line) if other.id > message.id)
        line.insert(next(younger, len(line)), message)
        message.step = -message.id

    def free_key(self, message: Message) -> None:
        line = self.lines[message.asked.priority]
        if message in line:
            line.remove(message)
            # It may stay as an entry that left, and be counted as passed over.
            self.forget_bypassed()
        turn = self.turns.get(message.asked.key or "", [])
        had_turn = turn[:1] == [message]
        if message in turn:
            turn.remove(message)
        if had_turn and turn:
            self.enter(turn[0], message.step)

    def forget_bypassed(self) -> None:
        """Whatever comes first next may be right."""
        self.bypassed = [MAX_BYPASS] * 10

    def bury(self, letter: Letter) -> None:
        self.dead.append(letter)
        del self.dead[: max(0, len(self.dead) - self.keeping.dead_max_messages)]

    def known(self, message_id: str, now: float) -> Message | None:
        message, at = self.seen.get(message_id, (None, 0.0))
        return message if at + self.keeping.dedupe_s > now else None

    def next_ones(self, run: Run) -> list[Message]:
        """Return what *run* should be, if it may be the next to be delivered."""
        if run.crashes:
            return self.at(Place.SUSPECT)[:1]
        priority = run.asked.priority
        line = self.lines[priority]
        assert line, "it is not ready"
        higher = any(self.lines[priority + 1 :])
        if not self.is_unsure:
            # A turn of a level that is lower still counts as one.
            assert not higher or self.bypassed[priority] >= MAX_BYPASS - priority
            self.bypassed[priority] = 0
            for level in range(priority):
                if self.lines[level]:
                    self.bypassed[level] += 1
                    assert self.bypassed[level] <= 2 * MAX_BYPASS
        if run.count == 1:
            step = line[0].step
            return [m for m in line if m.step == step and m.id == run.first_id]
        return line[: run.count]


def cost(bodies: list[bytes]) -> int:
    return BATCH_OVERHEAD_BYTES + sum(4 + len(body) for body in bodies)
