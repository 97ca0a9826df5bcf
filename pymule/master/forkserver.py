"""One forkserver as the master holds it, from its first process to its last."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, Self

from pymule.master.forking import Birth, Forking
from pymule.master.generation import Generation, MuleSpec
from pymule.master.logs import log
from pymule.master.output import MuleOutput
from pymule.master.spawner import MuleProcess, SpawnSpec
from pymule.sansio.forkserver import Preload
from pymule.sansio.supervision import Exit, MuleLife
from pymule.sansio.target import MuleId
from pymule.sansio.verbs import JsonObject

__all__ = ("Forkserver", "ForkserverSpec")

_OUTPUT: Final = logging.getLogger("pymule.mule")
# It has no messages to share; a board cannot be empty.
_BOARD_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class ForkserverSpec:
    """What mules must have in common to share a forkserver.

    Args:
        epoch: Of the reload that brought their code.
    """

    epoch: int
    preload: tuple[str, ...]
    python_path: tuple[str, ...]
    uwsgi: bool
    cwd: Path
    env: tuple[tuple[str, str], ...]
    nice: int | None
    umask: int | None
    limits: tuple[tuple[str, tuple[int, int]], ...]
    uid: int | None
    gid: int | None

    @classmethod
    def of(cls, spec: MuleSpec, epoch: int) -> Self:
        """Return what *spec* must have in common with others of *epoch*."""
        return cls(
            epoch=epoch,
            preload=spec.preload,
            python_path=spec.python_path,
            uwsgi=spec.uwsgi,
            cwd=spec.cwd,
            env=tuple(sorted(spec.env.items())),
            nice=spec.nice,
            umask=spec.umask,
            limits=tuple(sorted(spec.limits.items())),
            uid=spec.uid,
            gid=spec.gid,
        )

    def orders(self) -> Preload:
        """Return what it is to import."""
        return Preload(list(self.python_path), list(self.preload), self.uwsgi)

    def spawn_spec(self, number: int) -> SpawnSpec:
        """Return how to start it; the mules inherit from it what is in here."""
        return SpawnSpec(
            mule=MuleId(0),
            name=f"forkserver {number}",
            title=f"pymule: forkserver {number} [{', '.join(self.preload)}]",
            cwd=self.cwd,
            env=dict(self.env),
            nice=self.nice,
            umask=self.umask,
            limits=dict(self.limits),
            uid=self.uid,
            gid=self.gid,
            board_bytes=_BOARD_BYTES,
        )


@dataclass(slots=True, eq=False)
class Forkserver:
    """A forkserver by one specification; what happens to it is decided elsewhere.

    Args:
        number: Names it in the log, and among the deadlines.
        spec: What its mules have in common.
        life: Decides when it starts.
    """

    number: int
    spec: ForkserverSpec
    life: MuleLife
    # Those that it may have to fork again.
    users: set[Generation] = field(default_factory=set)
    # Wanted while it was not loaded.
    waiting: list[Birth] = field(default_factory=list)
    # Of the process that runs.
    forking: Forking | None = None
    outputs: list[MuleOutput] = field(default_factory=list)
    started_at: float = 0.0
    is_loaded: bool = False
    # What an import raised: type, text, traceback.
    error: JsonObject | None = None
    # Why it cannot fork; mules are spawned instead.
    unfit: list[str] = field(default_factory=list)
    # Set when it is not wanted any more, and no process of it is left.
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def pid(self) -> int | None:
        """Of the process that runs."""
        return None if self.forking is None else self.forking.process.pid

    def watch_output(
        self,
        loop: asyncio.AbstractEventLoop,
        process: MuleProcess,
        is_congested: Callable[[], bool],
    ) -> None:
        """Log what *process* prints."""
        for stream, fd in (("stdout", process.stdout), ("stderr", process.stderr)):
            emit = partial(_emit, self.number, stream)
            output = MuleOutput(loop, fd, emit, is_congested=is_congested)
            self.outputs.append(output)

    def note_ended(self) -> None:
        """Its process ended: log the last that it printed, and let go of it.

        Births to which there was no answer are ``waiting``.
        """
        for output in self.outputs:
            output.drain_now()
        self.outputs.clear()
        if self.forking is not None:
            self.waiting += self.forking.close()
            self.forking.process.close()
        self.forking, self.is_loaded = None, False

    def reason_of(self, exit_: Exit) -> tuple[str, str]:
        """Return why its process ended, and what an import said about it.

        The latter is for the log alone: not everybody may see what a module says.
        """
        if self.error is None:
            return self.life.kill_reason or exit_.reason, ""
        return str(self.error.get("type")), str(self.error.get("text"))

    def describe(self) -> JsonObject:
        """Return what ``status`` tells of it."""
        now = time.monotonic()
        uptime_s = 0.0 if self.forking is None else now - self.started_at
        is_failing = self.life.is_failing(now)
        return {
            "number": self.number,
            "pid": self.pid,
            "state": "failing" if is_failing else self.life.state.value,
            "preload": list(self.spec.preload),
            "mules": sorted(user.spec.id for user in self.users),
            "uptime_s": round(uptime_s, 3),
            "restarts": self.life.restarts,
            "unfit": list(self.unfit),
        }


def _emit(number: int, stream: str, line: str) -> None:
    # A field, so that no line can look like an event of ours.
    log(
        _OUTPUT,
        logging.INFO,
        "forkserver output",
        forkserver=number,
        stream=stream,
        line=line,
    )
