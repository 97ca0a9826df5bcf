"""The processes of the mules: their starts, what they print, and their ends."""

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Iterator
from typing import Final

from pymule.errors import MuleSpawnError
from pymule.master.ends import Ends
from pymule.master.forkservers import Forkservers
from pymule.master.generation import Generation, MuleSpec, Process
from pymule.master.logs import log
from pymule.master.oom import OomCounter
from pymule.master.spawner import MuleProcess, Spawner, SpawnSpec, reap_orphans
from pymule.master.ticker import Deadline, Ticker
from pymule.sansio.link import LinkId
from pymule.sansio.supervision import Exit
from pymule.sansio.target import MuleId
from pymule.sansio.verbs import JsonObject
from pymule.scoreboard import BOARD_BYTES, Scoreboard

__all__ = ("Processes",)

_LOGGER: Final = logging.getLogger("pymule.master")
_OUTPUT: Final = logging.getLogger("pymule.mule")


class Processes:
    """All processes that run.

    Args:
        loop: asyncio's or uvloop's.
        ticker: Has the deadlines of forkservers.
        numbers: For their links.
        on_started: Called with each that runs.
        on_failed: Called with why there is none, and with what an import raised.
        on_exited: Called with what ended, and its return code.
        is_congested: Whether the log cannot take more lines of mules now.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        ticker: Ticker[Deadline],
        numbers: Iterator[int],
        *,
        on_started: Callable[[Generation, Process], None],
        on_failed: Callable[[Generation, MuleSpawnError, JsonObject | None], None],
        on_exited: Callable[[Generation, Process, int], None],
        is_congested: Callable[[], bool],
    ) -> None:
        self._loop = loop
        self._numbers = numbers
        self._on_started = on_started
        self._on_failed = on_failed
        self._on_exited = on_exited
        self._is_congested = is_congested
        self._spawner = Spawner(loop, self._exited)
        self._running: dict[MuleProcess, tuple[Generation, Process]] = {}
        self._pids: set[int] = set()
        self._oom = OomCounter()
        self._is_reap_due = False
        self.forkservers = Forkservers(
            loop,
            ticker,
            adopt=self._adopt,
            is_congested=is_congested,
            on_forked=self._started,
            on_failed=self._not_forked,
            on_unfit=self._spawn,
        )

    def start(self, generation: Generation) -> None:
        """Start a process of *generation*, now or when its forkserver can."""
        if generation.spec.start_method == "forkserver":
            self.forkservers.fork(generation, _spawn_spec(generation.spec))
        else:
            self._spawn(generation)

    def cancel(self, generation: Generation) -> None:
        """Want the process no more that its forkserver has not forked yet."""
        if self.forkservers.cancel(generation):
            reason = generation.life.kill_reason or "asked to stop"
            reason += ", before its forkserver forked it"
            self._not_forked(generation, reason, None)

    def _spawn(self, generation: Generation) -> None:
        try:
            process = self._spawner.spawn(_spawn_spec(generation.spec))
        except MuleSpawnError as exc:
            self._on_failed(generation, exc, None)
        else:
            self._started(generation, process, time.monotonic())

    def _not_forked(
        self, generation: Generation, reason: str, told: JsonObject | None
    ) -> None:
        error = MuleSpawnError(generation.spec.name, reason)
        self._on_failed(generation, error, told)
        self._reap_soon()

    def _adopt(self, mule: MuleId, pid: int, ends: Ends) -> MuleProcess:
        """Make a process that was forked ours, unless it is somebody else's."""
        if pid in self._pids or pid in self.forkservers.pids:
            raise ChildProcessError(f"process {pid} is known already")
        return self._spawner.adopt(mule, pid, ends)

    def _started(
        self, generation: Generation, process: MuleProcess, since: float
    ) -> None:
        spec = generation.spec
        link = LinkId(next(self._numbers))
        running = Process(link, process, Scoreboard(process.board), since)
        self._running[process] = generation, running
        self._pids.add(process.pid)
        generation.watch_output(running, self._loop, _emitter(spec), self._is_congested)
        log(_LOGGER, logging.INFO, "mule spawned", mule=spec.id, pid=process.pid)
        self._on_started(generation, running)
        self._reap_soon()

    def _exited(self, process: MuleProcess, returncode: int) -> None:
        generation, running = self._running.pop(process)
        self._pids.discard(process.pid)
        self._on_exited(generation, running, returncode)

    def reason_of(self, generation: Generation, running: Process, exit_: Exit) -> str:
        """Return why a process ended; to be asked at each end."""
        reason = running.kill_reason or generation.life.kill_reason or exit_.reason
        # Asked at each death, so that it tells of this one.
        is_oom = self._oom.has_risen()
        if is_oom and reason == exit_.reason and exit_.signum == signal.SIGKILL:
            reason += ", out of memory"
        return reason

    def log_exit(
        self,
        generation: Generation,
        running: Process,
        returncode: int,
        reason: str,
        now: float,
    ) -> None:
        """Log the last of what it printed, its stacks, and its end."""
        for output in running.outputs:
            output.drain_now()
        stacks = running.process.read_stacks()
        if stacks:
            log(
                _LOGGER,
                logging.ERROR,
                "stacks of the mule",
                mule=generation.spec.id,
                trace=stacks.rstrip(),
            )
        log(
            _LOGGER,
            logging.WARNING if returncode else logging.INFO,
            "mule exited",
            mule=generation.spec.id,
            pid=running.process.pid,
            status=returncode,
            reason=reason,
            uptime_s=round(now - running.started_at, 3),
        )

    def close(self, running: Process) -> None:
        """Let go of what the master has of a process that ended."""
        if running.connection is not None:
            running.connection.abort()
        running.board.close()
        running.process.close()

    def reap(self) -> None:
        """Reap processes that mules have left behind."""
        # Some of these may be mules of which a forkserver has not told yet.
        self._is_reap_due = self.forkservers.is_busy
        if not self._is_reap_due:
            reap_orphans(self._pids | self.forkservers.pids)

    def _reap_soon(self) -> None:
        """A forkserver may have told of the last mule that it was asked for."""
        if self._is_reap_due:
            self._loop.call_soon(self.reap)


def _spawn_spec(spec: MuleSpec) -> SpawnSpec:
    return SpawnSpec(
        mule=spec.id,
        name=spec.name,
        title=spec.title,
        cwd=spec.cwd,
        env=spec.env,
        nice=spec.nice,
        umask=spec.umask,
        limits=spec.limits,
        uid=spec.uid,
        gid=spec.gid,
        board_bytes=BOARD_BYTES,
    )


def _emitter(spec: MuleSpec) -> Callable[[str, str], None]:
    def emit(stream: str, line: str) -> None:
        # A field, so that no line can look like an event of ours.
        log(
            _OUTPUT,
            logging.INFO,
            "mule output",
            mule=spec.id,
            name=spec.name,
            stream=stream,
            line=line,
        )

    return emit
