"""The paths whose instructions are counted, without sockets, loops and clocks.

Started by :mod:`benchmarks.instructions` under a counter, which starts a new count
whenever this process asks for its parent. The words are names of courses; ``batch:40``
adds so much work to each message.
"""

import gc
import os
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import Final

from pymule.mule.inbox import Hand, Lane
from pymule.sansio.batch import Batch
from pymule.sansio.delivery import DeliveryPolicy
from pymule.sansio.link import LinkId
from pymule.sansio.outbox import Outbox, Pile, Ticket
from pymule.sansio.queue import Keeping, Limits
from pymule.sansio.record import Durability, Stored
from pymule.sansio.router import Router
from pymule.sansio.session import PROTOCOL_VERSIONS, Role, Session
from pymule.sansio.verbs import (
    Ack,
    Confirm,
    Deliver,
    Hello,
    JsonObject,
    Refuse,
    Submit,
    Verb,
    Welcome,
)
from pymule.scoreboard import BOARD_BYTES, Scoreboard

__all__ = ("COURSES", "REFERENCE", "UNIT", "Course")

REFERENCE: Final = "reference"
"""The course by which the counts of the others are divided."""

UNIT: Final = "unit"
"""The course whose one message is one unit of planted work."""

BODY: Final = bytes(128)
BATCH: Final = 64
_LINK: Final = LinkId(1)
_SENDER: Final = 1
_TARGET: Final = "mule1"
_ROOM: Final = 1_000_000
# Passes after which the interpreter has made of the code what it makes of it.
_WARM: Final = 64


class Path:
    """A sender, a master and a mule, each with its end of a conversation."""

    def __init__(self, keeping: Keeping) -> None:
        self.outbox: Outbox[None] = Outbox()
        self.outbox.resend(1)
        self.sender, self.from_sender = _introduced(Role.CLIENT)
        self.mule, self.from_mule = _introduced(Role.MULE)
        self.router = Router()
        self.router.open_queue(_TARGET, Limits(), DeliveryPolicy(), keeping)
        self.router.add_link(_LINK, [_TARGET])
        self.router.open_lane(_LINK, 0, [_TARGET])
        board = os.memfd_create("board")
        os.ftruncate(board, BOARD_BYTES)
        scores = Scoreboard(board)
        self.lane = Lane(0, True, [_TARGET], scores, None)  # noqa: FBT003  (a key)
        self.hand = Hand(self.lane)
        self.is_durable = keeping.durability is not Durability.MEMORY

    def pass_on(self, count: int) -> None:
        """Take *count* messages all the way in one batch, and the answers back."""
        ticket: Ticket[None] = Ticket(count, None)
        pile: Pile[None] = Pile(_TARGET, b"")
        for _ in range(count):
            pile.add(BODY, ticket)
        self._submit(self.outbox.seal(pile))
        if self.is_durable:
            self._write()
        self._confirm()
        self._deliver()
        while self.lane.take(self.hand) is not None:
            pass
        self.hand.let_go()
        self._acknowledge()
        assert not self.outbox.unanswered
        assert ticket.wanted == 0

    def _submit(self, submit: Submit) -> None:
        for verb in self.from_sender.receive_data(submit.pack()):
            assert isinstance(verb, Submit)
            batch = Batch.received(verb.count, verb.payload)
            self.router.submit(
                _SENDER, verb.sequence, verb.target, batch, verb.options, 1.0
            )

    def _write(self) -> None:
        facts = self.router.take_facts()
        self.router.stored([fact.row for fact in facts if isinstance(fact, Stored)])

    def _confirm(self) -> None:
        confirms = []
        for _, sequence, count, first_id in self.router.take_answers():
            # None: taken, and confirmed once it is written.
            if isinstance(first_id, int):
                confirms.append((sequence, count, first_id))
        for verb in self.sender.receive_data(Confirm(confirms).pack()):
            assert isinstance(verb, Confirm | Refuse)
            for ticket in self.outbox.answered(verb):
                assert ticket.error is None

    def _deliver(self) -> None:
        limit = self.lane.received + _ROOM
        self.lane.limit_ever = limit
        self.router.credit(_LINK, 0, limit)
        for _, run in self.router.deliveries(1.0):
            deliver = Deliver(
                run.first_id,
                run.count,
                run.lane_index,
                run.attempts + 1,
                run.queue.name.encode(),
                run.options,
                run.payload,
            )
            for verb in self.mule.receive_data(deliver.pack()):
                assert isinstance(verb, Deliver)
                self.lane.arrive(verb)

    def _acknowledge(self) -> None:
        for verb in self.from_mule.receive_data(Ack(self.lane.new_acks()).pack()):
            assert isinstance(verb, Ack)
            for first_id, count, attempt in verb.ranges:
                self.router.ack(_LINK, first_id, count, attempt)
        if self.is_durable:
            self.router.take_facts()


def _introduced(role: Role) -> tuple[Session, Session]:
    """Return both ends of a conversation that has begun; the master's is the second."""
    peer, master = Session(role, Role.MASTER), Session(Role.MASTER, role)
    hello: JsonObject = {"protocol": list(PROTOCOL_VERSIONS), "client": "", "name": ""}
    master.receive_data(peer.pack(Hello(hello)))
    welcome: Verb = Welcome({"protocol": PROTOCOL_VERSIONS[-1]})
    peer.receive_data(master.pack(welcome))
    return peer, master


class _Thing:
    """What the reference makes many of."""

    __slots__ = ("body", "number")

    def __init__(self, number: int, body: bytes) -> None:
        self.number = number
        self.body = body

    def size(self) -> int:
        return len(self.body)


class Reference:
    """What any Python of this kind does: objects, calls, dicts, lists and bytes."""

    def __init__(self) -> None:
        self._things: dict[int, _Thing] = {}
        self._pack = struct.Struct("<QIHH").pack

    def pass_on(self, count: int) -> None:
        for number in range(count):
            thing = _Thing(number, self._pack(number, 1, 2, 3) + BODY)
            self._things[number & 255] = thing
            sizes = [one.size() for one in (thing, thing, thing)]
            if sum(sizes) > len(BODY) and thing.body[:8]:
                self._things.pop(number - 100 & 255, None)


class Unit:
    """What is planted: a little of the same, once for each message."""

    def pass_on(self, count: int) -> None:
        for _ in repeat(None, count):
            pass


@dataclass(frozen=True, slots=True)
class Course:
    """What is counted.

    Attributes:
        make: Returns what has a ``pass_on``.
        messages: In one pass.
        passes: In the smaller count; three times as many are in the larger.
    """

    make: Callable[[], Path | Reference | Unit]
    messages: int
    passes: int


COURSES: Final = {
    REFERENCE: Course(Reference, BATCH, 32),
    UNIT: Course(Unit, 2048, 16),
    "batch": Course(partial(Path, Keeping()), BATCH, 32),
    "single": Course(partial(Path, Keeping()), 1, 64),
    "durable": Course(partial(Path, Keeping(Durability.DISK)), 1, 64),
}


def run(course: Course, planted: int) -> None:
    """Warm up, then let both numbers of passes be counted; four calls in all."""
    path, unit = course.make(), Unit()
    for passes in (_WARM, course.passes, 3 * course.passes):
        os.getppid()
        for _ in range(passes):
            path.pass_on(course.messages)
            if planted:
                unit.pass_on(course.messages * planted)
    os.getppid()


if __name__ == "__main__":
    # When garbage is looked for, and how much, depends on what was imported.
    gc.disable()
    for word in sys.argv[1:]:
        name, _, units = word.partition(":")
        run(COURSES[name], int(units or 0))
