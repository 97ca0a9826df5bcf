"""A master in this process, guests at its socket, and stand-ins for its mules.

A stand-in is a real process that speaks the protocol by hand, so a test can have a mule
that lies, stays silent or does not die. Its program has ``say``, ``hear``, ``be_ready``
and ``rest``.
"""

import asyncio
import os
import socket
import sys
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeVar

from pymule.errors import ConfigError
from pymule.master.daemon import Master
from pymule.master.generation import Generation, MuleSpec
from pymule.master.listener import SocketClaim
from pymule.master.logs import LogSink
from pymule.master.notify import Notifier
from pymule.master.plan import Patience, Plan, QueuePlan
from pymule.master.roles import AccessRule
from pymule.master.zones import zone_of
from pymule.sansio.batch import pack_bodies
from pymule.sansio.delivery import DeliveryPolicy
from pymule.sansio.queue import Limits
from pymule.sansio.session import PROTOCOL_VERSIONS, Role, Session
from pymule.sansio.supervision import RestartPolicy
from pymule.sansio.target import MuleId
from pymule.sansio.verbs import (
    Call,
    Close,
    Confirm,
    Hello,
    JsonObject,
    Reply,
    Submit,
    Verb,
    Welcome,
)
from tests.conftest import MS, wait_until

__all__ = (
    "HOLD",
    "LONG",
    "STAND_IN",
    "Guest",
    "Yard",
    "a_plan",
    "a_queue",
    "a_spec",
    "first",
    "is_root",
    "reason_of",
    "until",
    "with_limits",
)

LONG: Final = 10_000 * MS
"""Seconds that something may take which takes a tenth of one."""

STAND_IN: Final = (
    sys.executable,
    "-S",
    "-c",
    "import os; exec(os.environ['STAND_IN'])",
)

_PRELUDE: Final = """
import json, os, signal, socket, sys, time
from pymule.sansio.session import PROTOCOL_VERSIONS, Role, Session
from pymule.sansio.verbs import *
from pymule.scoreboard import Scoreboard, lane_word
mule = json.loads(os.environ["PYMULE_MULE"])
link = socket.socket(fileno=mule["link"])
link.setblocking(True)
session = Session(Role.MULE, Role.MASTER)
heard = []
def say(*verbs):
    link.sendall(b"".join(map(session.pack, verbs)))
def hear(kind):
    while True:
        for index, verb in enumerate(heard):
            if isinstance(verb, kind):
                return heard.pop(index)
        data = link.recv(65536)
        if not data:
            os._exit(0)
        heard.extend(session.receive_data(data))
def greet():
    say(Hello({"protocol": list(PROTOCOL_VERSIONS), "client": "", "name": ""}))
    return hear(Welcome).value["mule"]
def be_ready():
    greet()
    say(Ready())
def ask(limit=1, sources=None):
    say(Lane(0, sources or ["mule", "mule%d" % mule["mule"]]), Credit(0, limit))
def rest():
    while True:
        signal.pause()
"""
HOLD: Final = """
be_ready()
ask(10)
deliver = hear(Deliver)
board = Scoreboard(mule["board"])
slot = board.open_slot(0)
"""
"""The program of a stand-in that was given messages and took none yet."""

# As pymuled does before its loop runs, because it reads files.
zone_of(None)
_ROOT: Final = str(Path(__file__).parents[2])
V = TypeVar("V", bound=Verb)


def a_spec(number: int = 1, program: str = "be_ready(); rest()") -> MuleSpec:
    """Return the specification of a stand-in that runs *program*."""
    return MuleSpec(
        id=MuleId(number),
        name=f"stand-in {number}",
        program="stand.in:main",
        app=None,
        farms=(),
        python_path=(),
        cwd=Path("/"),
        env={
            "PYTHONPATH": _ROOT,
            "STAND_IN": _PRELUDE + textwrap.dedent(program),
        },
        harakiri_s=None,
        stop_timeout_s=5000 * MS,
        start_timeout_s=LONG,
        credit=None,
        nice=None,
        umask=None,
        limits={},
        uid=None,
        gid=None,
        uwsgi=False,
    )


def a_queue(max_messages: int = 1000, *, refuses: bool = False) -> QueuePlan:
    """Return a queue whose messages are tried five times without a pause."""
    return QueuePlan(
        Limits(max_messages, 1024 * 1024, refuses), DeliveryPolicy(5, 3, 0, 0)
    )


def a_plan(
    *specs: MuleSpec,
    queues: Mapping[str, QueuePlan] | None = None,
    patience: Patience | None = None,
) -> Plan:
    """Return a plan of *specs*, each with its queue, and the shared one."""
    names = ["mule", *(f"mule{spec.id}" for spec in specs)]
    return Plan(
        mules={spec.id: spec for spec in specs},
        queues={name: a_queue() for name in names} | dict(queues or {}),
        access=AccessRule(),
        max_frame_bytes=65_536,
        restarts=RestartPolicy(backoff_s=20 * MS, backoff_max_s=20 * MS),
        patience=patience or Patience(),
    )


class Guest:
    """A client that says what a test wants it to.

    Args:
        path: Of the master's socket.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.session = Session(Role.CLIENT, Role.MASTER)
        self.heard: list[Verb] = []
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.settimeout(0)

    async def connect(self) -> None:
        """Connect, and say nothing."""
        await asyncio.get_running_loop().sock_connect(self._sock, str(self.path))

    def connect_as(self, uid: int) -> None:
        """Connect as another user, which takes root; the kernel notes who connects."""
        os.seteuid(uid)
        try:
            self._sock.connect(str(self.path))
        finally:
            os.seteuid(0)

    async def greet(self, client: str = "guest", name: str = "") -> Welcome:
        """Connect and say hello."""
        await self.connect()
        hello: JsonObject = {"protocol": list(PROTOCOL_VERSIONS), "client": client}
        await self.say(Hello(hello | {"name": name}))
        return await self.hear(Welcome)

    async def say(self, *verbs: Verb) -> None:
        """Send *verbs* in one piece."""
        await self.say_bytes(b"".join(map(self.session.pack, verbs)))

    async def say_bytes(self, data: bytes) -> None:
        """Send what need not be a verb."""
        await asyncio.get_running_loop().sock_sendall(self._sock, data)

    async def submit(
        self,
        sequence: int,
        *bodies: bytes,
        target: str = "mule",
        options: bytes = b"",
    ) -> None:
        """Send messages of which the first has *sequence*."""
        batch = pack_bodies(bodies)
        await self.say(Submit(sequence, 0, len(bodies), target, options, batch))

    async def confirmed(self, count: int) -> list[tuple[int, int, int]]:
        """Wait until *count* messages are confirmed; return the ranges."""
        ranges: list[tuple[int, int, int]] = []
        while sum(size for _, size, _ in ranges) < count:
            ranges += (await self.hear(Confirm)).ranges
        return ranges

    async def call(self, method: str, **params: object) -> Reply:
        """Ask the master and return its first reply."""
        await self.say(Call(1, {"method": method, **params}))
        return await self.hear(Reply)

    async def hear(self, kind: type[V]) -> V:
        """Wait for a verb of *kind*, whatever else is said."""
        async with asyncio.timeout(LONG):
            while True:
                for index, verb in enumerate(self.heard):
                    if isinstance(verb, kind):
                        del self.heard[index]
                        return verb
                assert await self._receive(), f"the end, no {kind.__name__}"

    async def ended(self) -> list[Verb]:
        """Wait for the end of the connection; return what was said until then."""
        async with asyncio.timeout(LONG):
            while await self._receive():
                pass
        return self.heard

    async def _receive(self) -> bool:
        try:
            data = await asyncio.get_running_loop().sock_recv(self._sock, 65_536)
        except ConnectionResetError:
            return False
        self.heard += self.session.receive_data(data)
        return bool(data)

    def close(self) -> None:
        """Leave."""
        self._sock.close()


class Yard:
    """A master that serves, and its guests; all gone after :meth:`close`.

    Args:
        claim: Its socket.
    """

    def __init__(self, claim: SocketClaim) -> None:
        self.path = Path(claim.path)
        self._claim = claim
        # What a reload finds.
        self.next_plan: Plan | ConfigError = ConfigError("nothing new")
        self._master: Master | None = None
        self._task: asyncio.Task[bool] | None = None
        self._guests: list[Guest] = []

    @property
    def master(self) -> Master:
        """The master, once open."""
        assert self._master is not None, "open"
        return self._master

    async def open(
        self,
        plan: Plan,
        *,
        sink: LogSink | None = None,
        notifier: Notifier | None = None,
        watchdog_s: float | None = None,
    ) -> Master:
        """Start a master by *plan*; it is ready to be talked to."""
        self._master = Master(
            plan,
            self._claim,
            self._load_plan,
            sink=sink,
            notifier=notifier,
            watchdog_s=watchdog_s,
        )
        self._task = asyncio.create_task(self._master.serve())
        await asyncio.sleep(0)
        return self._master

    async def open_ready(self, plan: Plan, *, sink: LogSink | None = None) -> Master:
        """Start a master by *plan* and wait until its mules are up."""
        master = await self.open(plan, sink=sink)
        await wait_until(lambda: set(self.states().values()) == {"up"}, within=LONG)
        return master

    def _load_plan(self) -> Plan:
        if isinstance(self.next_plan, ConfigError):
            raise self.next_plan
        return self.next_plan

    def states(self) -> dict[int, str]:
        """Return the states of the mules by number."""
        mules = self.master.mules.current
        return {n: self.master.state_of(mule) for n, mule in mules.items()}

    def pid(self, number: int = 1) -> int | None:
        """Return the process of a mule."""
        current = self.master.mules.current[MuleId(number)].current
        return None if current is None else current.process.pid

    async def reload(self, plan: Plan | ConfigError) -> str | None:
        """Reload to *plan*; return what went wrong."""
        self.next_plan = plan
        done: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self.master.reload(done.set_result)
        async with asyncio.timeout(LONG):
            return await done

    def guest(self) -> Guest:
        """Return a client, not connected yet."""
        guest = Guest(self.path)
        self._guests.append(guest)
        return guest

    async def greeted(self, client: str = "guest") -> Guest:
        """Return a client that was welcomed."""
        guest = self.guest()
        await guest.greet(client)
        return guest

    async def status(self) -> JsonObject:
        """Ask as ``pymule status`` does."""
        guest = await self.greeted("status")
        value = (await guest.call("status")).value
        guest.close()
        return value

    async def ended(self) -> bool:
        """Wait for the end of the master; return whether it was clean."""
        assert self._task is not None, "open"
        async with asyncio.timeout(LONG):
            return await self._task

    async def stop(self) -> bool:
        """Stop, and wait for the end; return whether it was clean."""
        self.master.stop()
        return await self.ended()

    async def close(self) -> None:
        """Leave nothing behind."""
        if self._task is not None and not self._task.done():
            self.master.stop(at_once=True)
            await self.ended()
        for guest in self._guests:
            guest.close()


def with_limits(spec: MuleSpec, **limits: float) -> MuleSpec:
    """Return *spec* with other seconds."""
    return replace(
        spec,
        harakiri_s=limits.get("harakiri_s", spec.harakiri_s),
        stop_timeout_s=limits.get("stop_timeout_s", spec.stop_timeout_s),
        start_timeout_s=limits.get("start_timeout_s", spec.start_timeout_s),
    )


def is_root() -> bool:
    """Whether a process of another user can be had."""
    return os.geteuid() == 0


def first(yard: Yard) -> Generation:
    """Return the mule that has number 1."""
    return yard.master.mules.current[MuleId(1)]


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that processes have to do."""
    await wait_until(condition, within=LONG)


def reason_of(verbs: list[Verb]) -> str:
    """Return why the master closed; it must have said so last."""
    (*_, last) = verbs
    assert isinstance(last, Close)
    return str(last.value["reason"])
