"""All forkservers: which mules share one, and what becomes of each.

Mules share one as long as nothing that they would inherit differs. A reload brings new
code, so its mules get forkservers of their own; an old one ends when the last of its
mules was asked to stop. When one that died is started again is decided as for a mule.
"""

import asyncio
import itertools
import logging
import random
import signal
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Final, assert_never

from pymule.errors import MuleSpawnError, RemoteProtocolError
from pymule.master.ends import Ends
from pymule.master.forking import Birth, Forking, News
from pymule.master.forkserver import Forkserver, ForkserverSpec
from pymule.master.generation import Generation
from pymule.master.logs import log
from pymule.master.spawner import MuleProcess, Spawner, SpawnSpec
from pymule.master.ticker import Deadline, Ticker
from pymule.sansio.forkserver import Broken, Loaded, Unfit
from pymule.sansio.supervision import (
    ArmDeadline,
    DisarmDeadline,
    Drain,
    DumpStacks,
    Effect,
    Exit,
    GiveUp,
    Kill,
    LifeTimeouts,
    MuleLife,
    MuleState,
    Spawn,
    SpawnAt,
)
from pymule.sansio.target import MuleId
from pymule.sansio.verbs import JsonObject

__all__ = ("FORKSERVER", "Forkservers")

FORKSERVER: Final = "forkserver"
_COMMAND: Final = (sys.executable, "-m", "pymule.mule.forkserver")
_LOGGER: Final = logging.getLogger("pymule.master")
# From asking it to end to SIGKILL, in seconds; it has nothing to finish.
_KILL_AFTER_S: Final = 5.0


class Forkservers:
    """All forkservers that run, and the mules that wait for them.

    Args:
        loop: asyncio's or uvloop's.
        ticker: Has their deadlines.
        adopt: Makes a mule that was forked ours; raises OSError.
        is_congested: Whether the log cannot take more lines now.
        on_forked: Called with a mule's process, and the time when it was asked for.
        on_failed: Called with why there is none, and with what an import raised.
        on_unfit: Called for a mule that must be spawned instead.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        ticker: Ticker[Deadline],
        *,
        adopt: Callable[[MuleId, int, Ends], MuleProcess],
        is_congested: Callable[[], bool],
        on_forked: Callable[[Generation, MuleProcess, float], None],
        on_failed: Callable[[Generation, str, JsonObject | None], None],
        on_unfit: Callable[[Generation], None],
    ) -> None:
        self._loop = loop
        self._ticker = ticker
        self._adopt = adopt
        self._is_congested = is_congested
        self._on_forked = on_forked
        self._on_failed = on_failed
        self._on_unfit = on_unfit
        self._spawner = Spawner(loop, self._exited, _COMMAND, socket.SOCK_SEQPACKET)
        self._numbers = itertools.count(1)
        # Those that mules may still ask.
        self._by_spec: dict[ForkserverSpec, Forkserver] = {}
        self._all: dict[int, Forkserver] = {}
        self._of: dict[Generation, Forkserver] = {}
        self._births: dict[Generation, Birth] = {}

    @property
    def pids(self) -> set[int]:
        """Of the processes that run."""
        return {server.pid for server in self._all.values() if server.pid is not None}

    @property
    def is_busy(self) -> bool:
        """Whether there may be a mule of which the master does not know yet."""
        forkings = [server.forking for server in self._all.values()]
        return any(forking is not None and forking.is_busy for forking in forkings)

    def start_method_of(self, generation: Generation) -> str:
        """Return how its next process starts: ``spawn`` if none can fork it."""
        server = self._of.get(generation)
        is_unfit = server is not None and bool(server.unfit)
        return "spawn" if is_unfit else generation.spec.start_method

    def describe(self) -> list[JsonObject]:
        """Return what ``status`` tells."""
        return [server.describe() for server in self._all.values()]

    # What mules want of them

    def fork(self, generation: Generation, spec: SpawnSpec) -> None:
        """Fork a process of *generation*; start its forkserver if need be."""
        server = self._for(generation)
        if server.unfit:
            self._on_unfit(generation)
            return
        birth = Birth(
            spec,
            on_forked=partial(self._forked, generation),
            on_failed=partial(self._failed, generation),
        )
        self._births[generation] = birth
        if server.is_loaded and server.forking is not None:
            server.forking.fork(birth)
            return
        server.waiting.append(birth)
        if server.life.state is MuleState.DOWN:
            self._apply(server, server.life.start(time.monotonic()))

    def cancel(self, generation: Generation) -> bool:
        """Want its process no more; tell whether it was awaited."""
        if generation not in self._births:
            return False
        server, birth = self._of[generation], self._births.pop(generation)
        if birth in server.waiting:
            server.waiting.remove(birth)
        elif server.forking is not None:
            server.forking.cancel(birth)
        return True

    def release(self, generation: Generation) -> None:
        """It will not be forked again: nobody else may need its forkserver."""
        server = self._of.pop(generation, None)
        if server is None:
            return
        server.users.discard(generation)
        if not server.users:
            del self._by_spec[server.spec]
            self._stop(server)

    async def ended(self) -> None:
        """Wait for the end of all; they must have been released."""
        for server in list(self._all.values()):
            await server.ended.wait()

    def due(self, number: int) -> None:
        """The deadline of a forkserver has come."""
        if server := self._all.get(number):
            self._apply(server, server.life.deadline_passed(time.monotonic()))

    def _for(self, generation: Generation) -> Forkserver:
        if generation in self._of:
            return self._of[generation]
        spec = ForkserverSpec.of(generation.spec, generation.epoch)
        server = self._by_spec.get(spec)
        if server is None:
            timeouts = LifeTimeouts(
                start_timeout_s=generation.spec.start_timeout_s,
                kill_after_s=_KILL_AFTER_S,
            )
            life = MuleLife(generation.life.policy, timeouts)
            server = Forkserver(next(self._numbers), spec, life)
            self._by_spec[spec] = self._all[server.number] = server
        server.users.add(generation)
        self._of[generation] = server
        return server

    def _forked(
        self, generation: Generation, process: MuleProcess, asked_at: float
    ) -> None:
        del self._births[generation]
        self._on_forked(generation, process, asked_at)

    def _failed(self, generation: Generation, error: str) -> None:
        del self._births[generation]
        self._on_failed(generation, error, self._of[generation].error)

    # What becomes of them

    def _apply(self, server: Forkserver, effects: tuple[Effect, ...]) -> None:
        """Turn the decisions of a life into acts."""
        key = (FORKSERVER, server.number)
        for effect in effects:
            match effect:
                case Spawn():
                    self._spawn(server)
                case SpawnAt(at) | ArmDeadline(at):
                    self._ticker.arm(key, at)
                case DisarmDeadline():
                    self._ticker.disarm(key)
                case Drain():
                    # In a turn of its own: the life is in the middle of a decision.
                    self._loop.call_soon(self._drained, server)
                case Kill(signum):
                    self._kill(server, signum)
                case DumpStacks() | GiveUp():
                    # It never hangs with a message; and its mules ask again.
                    pass
                case unreachable:
                    assert_never(unreachable)
        if server.life.state is MuleState.DOWN and not server.users:
            self._ticker.disarm(key)
            self._all.pop(server.number, None)
            server.ended.set()

    def _stop(self, server: Forkserver) -> None:
        self._apply(server, server.life.stop(time.monotonic()))

    def _drained(self, server: Forkserver) -> None:
        if server.life.state is MuleState.DRAINING:
            self._apply(server, server.life.drained(time.monotonic()))

    def _spawn(self, server: Forkserver) -> None:
        server.error, server.is_loaded = None, False
        try:
            process = self._spawner.spawn(server.spec.spawn_spec(server.number))
        except MuleSpawnError as exc:
            log(
                _LOGGER,
                logging.ERROR,
                "forkserver not started",
                forkserver=server.number,
                error=exc,
            )
            # In a turn of its own: the life is in the middle of a decision.
            self._loop.call_soon(self._not_spawned, server, str(exc))
            return
        server.started_at = time.monotonic()
        server.forking = Forking(
            self._loop,
            process,
            self._adopt,
            on_news=partial(self._tells, server),
            on_end=partial(self._fell_silent, server),
        )
        server.watch_output(self._loop, process, self._is_congested)
        log(
            _LOGGER,
            logging.INFO,
            "forkserver spawned",
            forkserver=server.number,
            pid=process.pid,
            preload=", ".join(server.spec.preload),
        )
        try:
            server.forking.preload(server.spec.orders())
        except OSError as exc:
            server.error = {"type": type(exc).__name__, "text": str(exc)}
            process.kill(signal.SIGKILL)

    def _not_spawned(self, server: Forkserver, error: str) -> None:
        now, jitter = time.monotonic(), random.random()  # noqa: S311
        self._fail(server, error)
        self._apply(server, server.life.spawn_failed(now, jitter))

    def _kill(self, server: Forkserver, signum: int) -> None:
        forking = server.forking
        if forking is None:
            return
        if signum == signal.SIGKILL:
            forking.process.kill_group()
        elif server.is_loaded:
            forking.hang_up()
            return
        forking.process.kill(signum)

    def _tells(self, server: Forkserver, news: News) -> None:
        # It says one of these, once; what the application says in its place is nothing.
        if server.life.state is not MuleState.STARTING:
            return
        match news:
            case Loaded():
                self._loaded(server)
            case Unfit(reasons):
                self._unfit(server, reasons)
            case Broken(error):
                server.error = error

    def _unfit(self, server: Forkserver, reasons: list[str]) -> None:
        log(
            _LOGGER,
            logging.WARNING,
            "forkserver unfit",
            forkserver=server.number,
            reason="; ".join(reasons),
        )
        server.unfit = reasons
        server.is_loaded = True
        self._stop(server)
        for generation in list(server.users):
            if self.cancel(generation):
                self._on_unfit(generation)

    def _loaded(self, server: Forkserver) -> None:
        forking = server.forking
        if forking is None:
            raise AssertionError("it was heard")
        now = time.monotonic()
        log(
            _LOGGER,
            logging.INFO,
            "forkserver ready",
            forkserver=server.number,
            start_s=round(now - server.started_at, 3),
        )
        server.is_loaded = True
        self._apply(server, server.life.ready(now))
        waiting, server.waiting = server.waiting, []
        for birth in waiting:
            forking.fork(birth)

    def _fell_silent(
        self, server: Forkserver, error: RemoteProtocolError | None
    ) -> None:
        """It closed its end, as it does before it ends; or it cannot be trusted."""
        if error is not None:
            log(
                _LOGGER,
                logging.ERROR,
                "forkserver broke the protocol",
                forkserver=server.number,
                error=error,
            )
        if server.forking is not None and (error or server.life.state is MuleState.UP):
            server.forking.process.kill(signal.SIGKILL)

    def _exited(self, process: MuleProcess, status: int) -> None:
        """A process ended; its mules live on."""
        server = next(
            server for server in self._all.values() if server.pid == process.pid
        )
        forking = server.forking
        if forking is None:
            raise AssertionError("it has a pid")
        # What it said last; no more than its socket holds.
        forking.hear(sys.maxsize)
        server.note_ended()
        exit_ = Exit(None, -status) if status < 0 else Exit(status)
        reason, told = server.reason_of(exit_)
        is_expected = server.life.state is MuleState.STOPPING
        log(
            _LOGGER,
            logging.INFO if is_expected else logging.ERROR,
            "forkserver exited",
            forkserver=server.number,
            pid=process.pid,
            status=status,
            reason=f"{reason}: {told}" if told else reason,
        )
        now, jitter = time.monotonic(), random.random()  # noqa: S311
        self._fail(server, f"its forkserver ended: {reason}")
        self._apply(server, server.life.exited(now, exit_, jitter))

    def _fail(self, server: Forkserver, error: str) -> None:
        waiting, server.waiting = server.waiting, []
        for birth in waiting:
            birth.on_failed(error)
