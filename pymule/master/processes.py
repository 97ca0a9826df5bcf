"""The processes of the mules: their starts, what they print, and their ends."""

import asyncio
import logging
import signal
import time
from collections.abc import Callable
from typing import Final

from pymule.master.generation import Generation, MuleSpec, Process
from pymule.master.logs import log
from pymule.master.oom import OomCounter
from pymule.master.spawner import MuleProcess, Spawner, SpawnSpec, reap_orphans
from pymule.sansio.link import LinkId
from pymule.sansio.supervision import Exit
from pymule.scoreboard import BOARD_BYTES, Scoreboard

__all__ = ("Processes",)

_LOGGER: Final = logging.getLogger("pymule.master")
_OUTPUT: Final = logging.getLogger("pymule.mule")


class Processes:
    """All processes that run.

    Args:
        loop: asyncio's or uvloop's.
        on_exited: Called with what ended, and its return code.
        is_congested: Whether the log cannot take more lines of mules now.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_exited: Callable[[Generation, Process, int], None],
        is_congested: Callable[[], bool],
    ) -> None:
        self._loop = loop
        self._on_exited = on_exited
        self._is_congested = is_congested
        self._spawner = Spawner(loop, self._exited)
        self._running: dict[MuleProcess, tuple[Generation, Process]] = {}
        self._oom = OomCounter()

    def start(self, generation: Generation, link: LinkId) -> Process:
        """Start a process of *generation*.

        Raises:
            MuleSpawnError: The system says no.
        """
        spec = generation.spec
        process = self._spawner.spawn(_spawn_spec(spec))
        running = Process(link, process, Scoreboard(process.board), time.monotonic())
        self._running[process] = generation, running
        generation.watch_output(running, self._loop, _emitter(spec), self._is_congested)
        log(_LOGGER, logging.INFO, "mule spawned", mule=spec.id, pid=process.pid)
        return running

    def _exited(self, process: MuleProcess, returncode: int) -> None:
        generation, running = self._running.pop(process)
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
        reap_orphans({process.pid for process in self._running})


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
