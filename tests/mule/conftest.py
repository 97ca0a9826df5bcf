"""A master that a test plays, and a mule's runtime at the other end of a socketpair."""

import asyncio
import os
import socket
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

import pytest
from blockbuster import BlockBuster

from pymule.connection import Connection
from pymule.errors import RefusedError
from pymule.functions import Functions
from pymule.mule import api
from pymule.mule.functions import MuleFunctions
from pymule.mule.hands import Hands
from pymule.mule.link import MuleLink
from pymule.mule.process import set_runtime
from pymule.mule.runtime import Runtime
from pymule.mule.signals import MuleSignals
from pymule.sansio.batch import pack_bodies
from pymule.sansio.session import PROTOCOL_VERSIONS, Role, Session
from pymule.sansio.verbs import (
    Ack,
    Call,
    Credit,
    Deliver,
    Hello,
    JsonObject,
    Lane,
    Nack,
    Reply,
    ReplyKind,
    Return,
    Verb,
    Welcome,
)
from pymule.scoreboard import BOARD_BYTES, Scoreboard
from tests.conftest import wait_until

__all__ = ("MULE", "Letter", "Master", "Stage", "new_board", "stop")

MULE: JsonObject = {"id": 3, "name": "busy", "farms": ["busy", "idle"], "credit": None}
V = TypeVar("V", bound=Verb)
# Says nothing, but comes after all that was said before.
_BARRIER: Final = Return([])


@dataclass(frozen=True, slots=True)
class Letter:
    """A message as the master has it."""

    id: int
    body: bytes
    source: str
    attempt: int
    options: bytes


@dataclass(eq=False)
class Master:
    """Serves what was submitted as credit allows, and notes what the mule says."""

    mule: JsonObject = field(default_factory=lambda: dict(MULE))
    said: list[Verb] = field(default_factory=list)
    ready: list[Letter] = field(default_factory=list)
    leased: dict[int, Letter] = field(default_factory=dict)
    acked: list[int] = field(default_factory=list)
    returned: list[int] = field(default_factory=list)
    lanes: dict[int, list[str]] = field(default_factory=dict)
    limits: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    delivered: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    connection: Connection | None = None
    is_lost: bool = False
    last_id: int = 100
    # By the name of a handler: why it is not registered.
    refusals: dict[str, RefusedError] = field(default_factory=dict)
    # The next signal to choose for a handler without a number.
    next_signal: int = 200

    async def connect(self, sock: socket.socket) -> None:
        session = Session(Role.MASTER, Role.MULE)
        await asyncio.get_running_loop().create_unix_connection(
            lambda: Connection(session, self), sock=sock
        )

    def send(self, verb: Verb) -> None:
        assert self.connection is not None
        self.connection.send(verb)

    def submit(
        self,
        *bodies: bytes,
        source: str = "mule",
        attempt: int = 1,
        options: bytes = b"",
    ) -> list[int]:
        """Queue messages; return their ids."""
        ids = list(range(self.last_id + 1, self.last_id + 1 + len(bodies)))
        self.last_id += len(bodies) + 1
        letters = zip(ids, bodies, strict=True)
        self.ready += [Letter(i, b, source, attempt, options) for i, b in letters]
        self.serve()
        return ids

    def serve(self) -> None:
        """Deliver what there is credit for, neighbours in one batch."""
        for lane, sources in self.lanes.items():
            while self.limits[lane] > self.delivered[lane]:
                room = self.limits[lane] - self.delivered[lane]
                letters = self._next_batch(sources, room)
                if not letters:
                    break
                taken = {letter.id for letter in letters}
                self.ready = [one for one in self.ready if one.id not in taken]
                self.deliver(lane, letters)

    def _next_batch(self, sources: list[str], room: int) -> list[Letter]:
        batch: list[Letter] = []
        for letter in self.ready:
            if letter.source not in sources:
                continue
            last = batch[-1] if batch else None
            if len(batch) == room or (
                last is not None
                and (letter.id, letter.source, letter.attempt, letter.options)
                != (last.id + 1, last.source, last.attempt, last.options)
            ):
                break
            batch.append(letter)
        return batch

    def deliver(self, lane: int, letters: list[Letter]) -> None:
        """Send *letters*, whatever the limit is."""
        first = letters[0]
        self.delivered[lane] += len(letters)
        self.leased |= {letter.id: letter for letter in letters}
        self.send(
            Deliver(
                first.id,
                len(letters),
                lane,
                first.attempt,
                first.source.encode(),
                first.options,
                pack_bodies([letter.body for letter in letters]),
            )
        )

    def all(self, kind: type[V]) -> list[V]:
        """Return what the mule said of that kind."""
        return [verb for verb in self.said if isinstance(verb, kind)]

    def _settled(self, first: int, count: int, attempt: int) -> list[Letter]:
        letters = [self.leased.pop(number) for number in range(first, first + count)]
        assert {letter.attempt for letter in letters} == {attempt}
        return letters

    # What a connection asks of its owner

    def connection_made(self, connection: Connection) -> None:
        self.connection = connection

    def data_received(self, connection: Connection) -> None:
        pass

    def verbs_received(self, connection: Connection, verbs: list[Verb]) -> None:
        for verb in verbs:
            self.said.append(verb)
            match verb:
                case Hello():
                    welcome = {"protocol": PROTOCOL_VERSIONS[1], "mule": self.mule}
                    connection.send(Welcome(welcome))
                case Lane():
                    assert verb.lane not in self.lanes
                    self.lanes[verb.lane] = verb.sources
                case Credit():
                    assert verb.lane in self.lanes, "credit before its lane"
                    self.limits[verb.lane] = verb.limit
                case Ack():
                    for told in verb.ranges:
                        self.acked += [letter.id for letter in self._settled(*told)]
                case Nack():
                    self._settled(verb.id, 1, verb.attempt)
                case Return():
                    self._take_back(verb)
                case Call():
                    self.answer(verb)
                case _:
                    pass
        self.serve()

    def answer(self, call: Call) -> None:
        """Answer, register what *call* asks for, or refuse it."""
        if call.value["method"] == "ping":
            self.send(Reply(call.id, ReplyKind.LAST, {}))
            return
        names = call.value.get("names")
        what = names[0] if isinstance(names, list) else call.value["handler"]
        refusal = self.refusals.get(str(what))
        if refusal is not None:
            error = {"code": refusal.code, "detail": refusal.to_detail()}
            self.send(Reply(call.id, ReplyKind.ERROR, error))
            return
        number = call.value.get("signal")
        if number is None:
            number, self.next_signal = self.next_signal, self.next_signal + 1
        self.send(Reply(call.id, ReplyKind.LAST, {"signal": number, "holder": "mule3"}))

    def _take_back(self, verb: Return) -> None:
        letters = [one for told in verb.ranges for one in self._settled(*told)]
        self.returned += [letter.id for letter in letters]
        # Where their age places them.
        self.ready = sorted(letters + self.ready, key=lambda letter: letter.id)

    def connection_lost(self, connection: Connection, reason: Exception | None) -> None:
        del connection, reason
        self.is_lost = True


def new_board() -> Scoreboard:
    """Return a scoreboard in memory of its own."""
    fd = os.memfd_create("board")
    try:
        os.ftruncate(fd, BOARD_BYTES)
        return Scoreboard(fd)
    finally:
        os.close(fd)


@dataclass(eq=False)
class Stage:
    """A runtime in this process, and its master."""

    master: Master
    runtime: Runtime
    board: Scoreboard
    orphaned: list[bool] = field(default_factory=list)

    async def all_heard(self) -> None:
        """Return when the master has heard all that the mule has to say by now."""
        for _ in range(3):
            self.runtime.link.flush()
            assert self.runtime.link._connection is not None
            self.runtime.link._connection.send(_BARRIER)
            heard = self.master.said.count(_BARRIER) + 1
            await wait_until(partial(self._heard_barriers, heard))

    def _heard_barriers(self, count: int) -> bool:
        return self.master.said.count(_BARRIER) == count

    def held_ids(self) -> list[int]:
        """Return the ids of what the scoreboard shows in hand."""
        lanes = {lane.index: lane for lane in self.runtime.link.lanes.values()}
        found = []
        for held in self.board.held():
            arrival = lanes[held.lane].arrival_of(held.position)
            found.append(arrival.first_id + held.position - arrival.start)
        return sorted(found)


async def stop(*tasks: asyncio.Task[bytes]) -> None:
    """Cancel *tasks* and wait for their end."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def _open_stage(mule: JsonObject, *, is_blocking: bool) -> Stage:
    loop = asyncio.get_running_loop()
    master_end, mule_end = socket.socketpair()
    for end in (master_end, mule_end):
        end.setblocking(False)  # noqa: FBT003  (the standard library's)
    master = Master(mule)
    session = Session(Role.MULE, Role.MASTER)
    hello = session.pack(Hello({"protocol": list(PROTOCOL_VERSIONS)}))
    mule_end.send(hello)
    await master.connect(master_end)
    await wait_until(lambda: master.said)
    welcome = b""
    while not session.receive_data(welcome):
        welcome = await loop.sock_recv(mule_end, 65_536)
    board = new_board()
    board.sign()
    runtime = Runtime(loop, board, mule, api.running_hands, is_blocking=is_blocking)
    stage = Stage(master, runtime, board)
    runtime.link.on_orphaned = lambda: stage.orphaned.append(True)
    await runtime.link.connect(session, mule_end)
    set_runtime(runtime)
    return stage


@pytest.fixture
def mule() -> JsonObject:
    """What the master tells the mule about itself; a test may have another."""
    return dict(MULE)


@pytest.fixture
def no_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """No look for stalls but the test's own: nothing goes back by itself."""
    monkeypatch.setattr("pymule.mule.link._STALL_S", 3600.0)


@pytest.fixture
def is_blocking() -> bool:
    """Whether the mule's program is; a test may have it so."""
    return False


@pytest.fixture
async def stage(
    mule: JsonObject,
    blockbuster: BlockBuster,
    *,
    is_blocking: bool,
) -> AsyncIterator[Stage]:
    """A runtime of mule 3, in farms busy and idle, that this process now is."""
    # Threads and the loop share one lock, held for a few assignments and never while
    # anything is waited for; now and then one finds it taken.
    acquire = blockbuster.functions["threading.Lock.acquire"]
    acquire.can_block_in("mule/runtime.py", [*vars(Runtime)])
    acquire.can_block_in("mule/link.py", [*vars(MuleLink), "give"])
    acquire.can_block_in("mule/hands.py", [*vars(Hands)])
    acquire.can_block_in("mule/api.py", "_take")
    acquire.can_block_in("mule/signals.py", [*vars(MuleSignals)])
    acquire.can_block_in("mule/functions.py", [*vars(MuleFunctions)])
    stage = await _open_stage(mule, is_blocking=is_blocking)
    yield stage
    set_runtime(None)
    api.running_hands.clear()
    if (timer := stage.runtime.link._stall_timer) is not None:
        timer.cancel()
    for connection in (stage.runtime.link._connection, stage.master.connection):
        assert connection is not None
        connection.abort()
        await connection.wait_closed()
    stage.runtime.link._connection = None
    await asyncio.sleep(0)
    stage.board.close()


@pytest.fixture(autouse=True)
def _no_functions_of_other_tests(fresh_functions: Functions) -> None:
    """A module that was imported before may have noted some."""
