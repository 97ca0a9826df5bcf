"""What the router should do, written as naively as possible: lists, and loops."""

from dataclasses import dataclass, field
from enum import Enum

from pymule.sansio.delivery import DeliveryPolicy
from pymule.sansio.link import LinkId
from pymule.sansio.queue import BATCH_OVERHEAD_BYTES, Limits

__all__ = (
    "Expected",
    "Fate",
    "LaneModel",
    "LinkModel",
    "MessageModel",
    "Place",
    "QueueModel",
    "Waiting",
)


class Place(Enum):
    READY = "ready"
    SUSPECT = "suspect"
    DELAYED = "delayed"
    LEASED = "leased"
    DEAD = "dead"
    DONE = "done"


@dataclass(eq=False)
class MessageModel:
    queue: "QueueModel"
    body: bytes
    # Those that share its memory, itself too: what was accepted together.
    piece: list["MessageModel"]
    id: int = 0
    place: Place = Place.READY
    attempts: int = 0
    crashes: int = 0
    link: LinkId | None = None
    lane: int = 0
    position: int = 0

    def leave(self, place: Place) -> None:
        self.link = None
        self.place = place
        if place in {Place.DEAD, Place.DONE}:
            self.queue.held.remove(self)
            self.queue.dead += place is Place.DEAD

    def go_back(self) -> None:
        self.leave(Place.SUSPECT if self.crashes else Place.READY)

    def fail(self, policy: DeliveryPolicy, *, crashes: int) -> bool:
        """Spend an attempt; tell whether there are more."""
        self.attempts += 1
        self.crashes += crashes
        if self.attempts < policy.max_attempts and self.crashes < policy.max_crashes:
            self.piece = [self]
            return True
        self.leave(Place.DEAD)
        return False


@dataclass(eq=False)
class Waiting:
    sender: int
    sequence: int
    bodies: list[bytes]


Fate = str | list[MessageModel]
Expected = list[tuple[str, int, int, int, Fate]]


@dataclass(eq=False)
class QueueModel:
    name: str
    limits: Limits
    is_closed: bool = False
    waiting: list[Waiting] = field(default_factory=list)
    held: list[MessageModel] = field(default_factory=list)
    accepted: int = 0
    dead: int = 0
    failed: int = 0
    redelivered: int = 0

    def at(self, place: Place) -> list[MessageModel]:
        found = (message for message in self.held if message.place is place)
        return sorted(found, key=lambda message: message.id)

    @property
    def bytes(self) -> int:
        pieces = {id(message.piece): message.piece for message in self.held}
        return sum(cost([m.body for m in piece]) for piece in pieces.values())

    def has_room_for(self, bodies: list[bytes], size: int) -> bool:
        return (
            len(self.held) + len(bodies) <= self.limits.max_messages
            and size + cost(bodies) <= self.limits.max_bytes
        )

    def admit(self) -> Expected:
        answers: Expected = []
        while self.waiting:
            head = self.waiting[0]
            count, size = 0, self.bytes
            while count < len(head.bodies) and self.has_room_for(
                head.bodies[: count + 1], size
            ):
                count += 1
            fate: Fate = "full"
            if count:
                fate = self.accept(head.bodies[:count])
            elif cost(head.bodies[:1]) <= self.limits.max_bytes:
                break
            count = count or 1
            answers.append((self.name, head.sender, head.sequence, count, fate))
            head.sequence += count
            del head.bodies[:count]
            if not head.bodies:
                self.waiting.pop(0)
        return answers

    def accept(self, bodies: list[bytes]) -> list[MessageModel]:
        piece: list[MessageModel] = []
        piece += [MessageModel(self, body, piece) for body in bodies]
        self.held += piece
        self.accepted += len(piece)
        return piece

    def refuse_all(self) -> Expected:
        waiting, self.waiting = self.waiting, []
        return [
            (self.name, w.sender, w.sequence, len(w.bodies), "unknown") for w in waiting
        ]


def cost(bodies: list[bytes]) -> int:
    return BATCH_OVERHEAD_BYTES + sum(4 + len(body) for body in bodies)


@dataclass(eq=False)
class LaneModel:
    queues: list[QueueModel]
    limit: int = 0
    sent: int = 0

    def has_credit_for(self, queue: QueueModel) -> bool:
        return self.limit > self.sent and queue in self.queues


@dataclass(eq=False)
class LinkModel:
    sources: list[str]
    lanes: dict[int, LaneModel] = field(default_factory=dict)
    is_draining: bool = False
    handled: int = 0

    def has_credit_for(self, queue: QueueModel) -> bool:
        return any(lane.has_credit_for(queue) for lane in self.lanes.values())
