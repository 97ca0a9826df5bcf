"""What the router should do, written as naively as possible: lists, and loops."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum

from pymule.errors import QueueFullError, UnknownTargetError
from pymule.sansio.batch import unpack_bodies
from pymule.sansio.delivery import DeliveryPolicy
from pymule.sansio.link import Link, LinkId
from pymule.sansio.queue import Limits
from pymule.sansio.router import Losses, Router
from pymule.sansio.run import BATCH_OVERHEAD_BYTES, Hands, Run
from pymule.sansio.target import MessageId

__all__ = (
    "Expected",
    "Fate",
    "LaneModel",
    "LinkModel",
    "MessageModel",
    "Place",
    "QueueModel",
    "RouterModel",
    "Waiting",
    "each",
    "word_for",
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
    # Bytes of what its failures told.
    told: int = 0

    def leave(self, place: Place) -> None:
        self.link = None
        self.place = place
        if place in {Place.DEAD, Place.DONE}:
            self.queue.held.remove(self)
            self.queue.dead += place is Place.DEAD

    def go_back(self) -> None:
        self.leave(Place.SUSPECT if self.crashes else Place.READY)

    def fail(self, policy: DeliveryPolicy, text: str, *, crashes: int) -> bool:
        """Spend an attempt; tell whether there are more."""
        self.attempts += 1
        self.told += len(text) + len(str(self.attempts))
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
    def size(self) -> int:
        pieces = {id(message.piece): message.piece for message in self.held}
        told = sum(message.told for message in self.held)
        return told + sum(cost([m.body for m in piece]) for piece in pieces.values())

    def has_room_for(self, bodies: list[bytes], size: int) -> bool:
        return (
            len(self.held) + len(bodies) <= self.limits.max_messages
            and size + cost(bodies) <= self.limits.max_bytes
        )

    def admit(self) -> Expected:
        answers: Expected = []
        while self.waiting:
            head = self.waiting[0]
            count, size = 0, self.size
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


class RouterModel:
    """All queues and links, and what each act should do to them."""

    def __init__(self) -> None:
        self.policy = DeliveryPolicy()
        self.queues: dict[str, QueueModel] = {}
        self.links: dict[LinkId, LinkModel] = {}
        self.messages: dict[int, MessageModel] = {}
        self.late = 0

    def submitted(self, name: str, new: Waiting) -> Expected:
        queue = self.queues.get(name)
        if queue is None or queue.is_closed:
            return [(name, new.sender, new.sequence, len(new.bodies), "unknown")]
        queue.waiting.append(new)
        expected = queue.admit()
        if new in queue.waiting and queue.limits.refuses:
            queue.waiting.remove(new)
            expected.append((name, new.sender, new.sequence, len(new.bodies), "full"))
        return expected

    def sender_gone(self, sender: int) -> None:
        for queue in self.queues.values():
            queue.waiting = [w for w in queue.waiting if w.sender != sender]

    def leased(self, number: LinkId) -> list[MessageModel]:
        held = (m for queue in self.queues.values() for m in queue.held)
        found = [m for m in held if m.link == number]
        return sorted(found, key=lambda message: message.id)

    def in_range(self, number: LinkId, first: int, count: int) -> list[MessageModel]:
        return [m for m in self.leased(number) if first <= m.id < first + count]

    def link_gone(self, number: LinkId, hands: dict[int, Hands]) -> Losses:
        expected = Losses()
        for message in self.leased(number):
            board = hands.get(message.lane, Hands(0, frozenset()))
            if message.position in board.held:
                expected.in_hand.append(MessageId(message.id))
                if message.fail(self.policy, "died", crashes=1):
                    message.queue.redelivered += 1
                    message.go_back()
                else:
                    expected.dead.append(MessageId(message.id))
            elif message.position < board.taken:
                expected.done += 1
                message.leave(Place.DONE)
            else:
                expected.untouched += 1
                message.go_back()
        del self.links[number]
        return expected

    def nacked(
        self,
        message: MessageModel,
        delay: float | None,
        jitter: float,
        *,
        is_final: bool,
    ) -> float | None:
        message.queue.failed += 1
        if is_final:
            message.attempts += 1
            message.leave(Place.DEAD)
            return None
        if not message.fail(self.policy, "no", crashes=0):
            return None
        if delay is None:
            longest = self.policy.backoff_s * 2 ** (message.attempts - 1)
            delay = min(longest, self.policy.backoff_max_s) * jitter
        if not delay:
            message.queue.redelivered += 1
            message.go_back()
            return None
        message.leave(Place.DELAYED)
        return 1.0 + delay

    @property
    def busy(self) -> list[LinkId]:
        return [number for number in sorted(self.links) if self.leased(number)]

    @property
    def delayed(self) -> list[int]:
        return [m.id for queue in self.queues.values() for m in queue.at(Place.DELAYED)]

    def ack(self, number: LinkId, first: int, count: int, attempt: int) -> None:
        self.late += count
        for message in self.in_range(number, first, count):
            if message.attempts + 1 == attempt:
                message.leave(Place.DONE)
                self.links[number].handled += 1
                self.late -= 1

    def give_back(self, number: LinkId, first: int, count: int) -> None:
        given = self.in_range(number, first, count)
        self.late += count - len(given)
        for message in given:
            message.go_back()

    def retry_due(self, message: MessageModel) -> None:
        if message.place is Place.DELAYED:
            message.queue.redelivered += 1
            message.go_back()

    def delivered(self, number: LinkId, run: Run) -> None:
        link, queue = self.links[number], self.queues[run.queue.name]
        lane = link.lanes[run.lane_index]
        place = Place.SUSPECT if run.crashes else Place.READY
        leased = self.leased(number)
        oldest = queue.at(place)[: run.count]

        assert not link.is_draining
        assert queue in lane.queues
        assert [m.id for m in oldest] == list(range(run.first_id, run.end_id))
        assert [m.body for m in oldest] == unpack_bodies(run.payload, run.count)
        assert {(m.attempts, m.crashes) for m in oldest} == {
            (run.attempts, run.crashes)
        }
        assert run.attempts < self.policy.max_attempts
        assert run.crashes < self.policy.max_crashes
        assert not any(m.crashes for m in leased)
        assert not run.crashes or (run.count == 1 and not leased)
        assert run.start == lane.sent
        for message in oldest:
            message.place, message.link = Place.LEASED, number
            message.lane, message.position = run.lane_index, lane.sent
            lane.sent += 1
        assert lane.sent <= lane.limit

    def nobody_waits_in_vain(self, router: Router) -> None:
        for queue in self.queues.values():
            for number, link in self.links.items():
                if link.is_draining or not link.has_credit_for(queue):
                    continue
                leased = self.leased(number)
                if not leased:
                    assert not queue.at(Place.SUSPECT)
                if queue.at(Place.READY) and not any(m.crashes for m in leased):
                    self._is_kept_free(router.links[number])

    def _is_kept_free(self, link: Link) -> None:
        """That is the only reason not to deliver: it is busy, and next a suspect."""
        reserver = link.reserved_by
        assert reserver is not None
        queue = self.queues[reserver.name]
        assert self.leased(link.id)
        assert queue.at(Place.SUSPECT)
        assert self.links[link.id].has_credit_for(queue)


def word_for(result: object) -> str:
    match result:
        case int():
            return "queued"
        case QueueFullError():
            return "full"
        case UnknownTargetError():
            return "unknown"
    raise AssertionError(f"an answer that nobody expects: {result}")


def each(runs: Iterable[Run], place: Place) -> Iterator[tuple[int, Place]]:
    for run in runs:
        for number in range(run.first_id, run.end_id):
            yield number, place
