"""One mule as the master holds it, from its first process to its last.

A reload gives a mule a new generation, which has its own processes, while the old one
drains; both serve the queues of the same number.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pymule.connection import Connection
from pymule.master.output import MuleOutput
from pymule.master.spawner import MuleProcess
from pymule.sansio.link import LinkId
from pymule.sansio.supervision import MuleLife, MuleState
from pymule.sansio.target import MuleId
from pymule.sansio.verbs import JsonObject
from pymule.scoreboard import Scoreboard

__all__ = ("Generation", "MuleSpec", "Process")


@dataclass(frozen=True, slots=True)
class MuleSpec:
    """What a mule is to be, with all names looked up and all paths absolute."""

    id: MuleId
    name: str
    program: str | None
    app: str | None
    farms: tuple[str, ...]
    python_path: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    harakiri_s: float | None
    stop_timeout_s: float
    start_timeout_s: float
    credit: int | None
    nice: int | None
    umask: int | None
    limits: Mapping[str, tuple[int, int]]
    uid: int | None
    gid: int | None
    uwsgi: bool
    allow_pickle: bool = False
    start_method: Literal["spawn", "forkserver"] = "spawn"
    # What its forkserver imports.
    preload: tuple[str, ...] = ()

    @property
    def mode(self) -> str:
        """``programmed`` or ``signal-only``."""
        return "programmed" if self.program else "signal-only"

    @property
    def title(self) -> str:
        """What ps(1) shows."""
        return f"pymule: mule {self.id} {self.name} [{self.program or self.mode}]"

    @property
    def sources(self) -> tuple[str, ...]:
        """The queues that it may ask for."""
        return (f"mule{self.id}", "mule", *(f"farm:{name}" for name in self.farms))

    def welcome(self) -> JsonObject:
        """Return what the mule is told about itself."""
        return {
            "id": self.id,
            "name": self.name,
            "program": self.program,
            "app": self.app,
            "farms": list(self.farms),
            "python_path": list(self.python_path),
            "credit": self.credit,
            "uwsgi": self.uwsgi,
            "allow_pickle": self.allow_pickle,
            "preload": list(self.preload),
        }


@dataclass(slots=True, eq=False)
class Process:
    """What the master has of a process that runs."""

    link: LinkId
    process: MuleProcess
    board: Scoreboard
    started_at: float
    outputs: list[MuleOutput] = field(default_factory=list)
    connection: Connection | None = None
    # What the program told at its end: type, text, traceback.
    farewell: JsonObject | None = None
    # Why the master killed it.
    kill_reason: str = ""
    # Whether it is among those that did not stop when asked to.
    is_counted: bool = False
    # By lane and position: when a message in hand was first seen there.
    _seen: dict[tuple[int, int], float] = field(default_factory=dict)

    def held_since(self, now: float) -> list[float]:
        """Return since when each message in hand is, monotonic seconds.

        For one whose instant the mule did not note: since it was first seen here.
        """
        held = self.board.held()
        seen = self._seen
        self._seen = {
            (item.lane, item.position): seen.get((item.lane, item.position), now)
            for item in held
        }
        return [
            self._seen[item.lane, item.position]
            if item.since_ns is None
            else item.since_ns / 1e9
            for item in held
        ]


class Generation:
    """A mule by one specification.

    Args:
        number: Names it among the deadlines.
        spec: What to start.
        life: Decides when.
        epoch: How many reloads came before it.
    """

    def __init__(
        self, number: int, spec: MuleSpec, life: MuleLife, epoch: int = 0
    ) -> None:
        self.number = number
        self.epoch = epoch
        self.spec = spec
        self.life = life
        self.current: Process | None = None
        self.handled = 0
        self.last_exit: JsonObject | None = None
        # True once it is up, false when its first process ended before that.
        self.started: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def state(self) -> MuleState:
        """Where it is in its life."""
        return self.life.state

    def inherit(self, old: "Generation") -> None:
        """Count on from where the *old* generation of the mule ended."""
        self.handled += old.handled

    def note_started(self, *, is_up: bool) -> None:
        """Tell who waits for the first process."""
        if not self.started.done():
            self.started.set_result(is_up)

    def note_ended(self) -> None:
        """Tell who waits that no process of it runs or will."""
        self.note_started(is_up=False)
        if not self.ended.done():
            self.ended.set_result(None)

    def watch_output(
        self,
        process: Process,
        loop: asyncio.AbstractEventLoop,
        emit: Callable[[str, str], None],
        is_congested: Callable[[], bool],
    ) -> None:
        """Give the lines of the process to *emit*, with the name of their stream."""
        for stream, fd in (
            ("stdout", process.process.stdout),
            ("stderr", process.process.stderr),
        ):
            process.outputs.append(
                MuleOutput(
                    loop,
                    fd,
                    lambda line, stream=stream: emit(stream, line),  # type: ignore[misc]  # mypy cannot type a bound default
                    is_congested=is_congested,
                )
            )

    def uptime_s(self) -> float:
        """Return for how many seconds its process runs."""
        if self.current is None:
            return 0.0
        return time.monotonic() - self.current.started_at
