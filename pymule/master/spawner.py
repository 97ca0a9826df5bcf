"""Start the processes of mules, hear of their death, and leave nothing of them behind.

Only the posix part is here: whether and when a mule starts again is decided
elsewhere. No child watcher of a loop and no SIGCHLD are involved, so asyncio and
uvloop behave the same: a pidfd becomes readable when its process ends.

A mule inherits three descriptors, named in the environment variable ``PYMULE_MULE``, a
JSON object::

    {"mule": 3, "name": "busy", "title": "pymule: mule 3 busy",
     "link": 7, "board": 8, "stacks": 9, "master": 4711, "drops": false}

``link`` is one end of a stream socketpair; ``board`` is shared memory of the agreed
size; ``stacks`` is an empty file in memory for the stacks of a mule that hangs.
``master`` is the pid that must still be the parent's once the mule has asked
for the signal that a parent's death sends. ``drops`` says that it was given another
user or group, and must see to it that nothing it executes gives it more again.
"""

import asyncio
import contextlib
import ctypes
import json
import os
import pwd
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from pymule.errors import MuleSpawnError
from pymule.master.ends import Ends, open_ends
from pymule.sansio.target import MuleId
from pymule.sansio.verbs import JsonObject

__all__ = (
    "MuleProcess",
    "SpawnSpec",
    "Spawner",
    "become_subreaper",
    "reap_orphans",
)

MULE_COMMAND: Final = (sys.executable, "-m", "pymule.mule")

# A mule dies before the master when memory ends; 1000 would be before all else.
_OOM_SCORE_ADJ: Final = b"500"
# Stacks are for people; a mule that writes more of them shall not fill the master.
_STACKS_BYTES: Final = 256 * 1024
_PR_SET_CHILD_SUBREAPER: Final = 36
_REAP_AT_ONCE: Final = 1024


@dataclass(frozen=True, slots=True)
class SpawnSpec:
    """How to start one mule.

    ``uid`` and ``gid`` need a master that is root. Supplementary groups are dropped
    with either; ``uid`` alone takes that user's primary group.
    """

    mule: MuleId
    # For people: in errors, in the log.
    name: str
    # What ps(1) shows, set by the mule itself.
    title: str
    cwd: Path
    # The whole environment but for PYMULE_MULE; nothing of the master's is added.
    env: Mapping[str, str]
    nice: int | None
    umask: int | None
    # Resource name as in resource.RLIMIT_*, in lower case -> soft and hard limit.
    limits: Mapping[str, tuple[int, int]]
    uid: int | None
    gid: int | None
    board_bytes: int

    def description(self) -> JsonObject:
        """Return what the process is told about itself."""
        return {
            "mule": self.mule,
            "name": self.name,
            "title": self.title,
            "master": os.getpid(),
            "drops": self.uid is not None or self.gid is not None,
        }


class MuleProcess:
    """One process of a mule, from its start until :meth:`close`.

    ``link`` and the read ends ``stdout`` and ``stderr`` are non-blocking. ``board``
    cannot change its size, so a mapping of it is safe from the mule.

    Args:
        mule: Its number.
        pid: Not reaped.
        pidfd: Of the same process.
        ends: Ours; closed by :meth:`close`, as is *pidfd*.
        reap: Waits for it; returns its return code.
    """

    def __init__(
        self,
        mule: MuleId,
        pid: int,
        pidfd: int,
        ends: Ends,
        reap: Callable[[], int],
    ) -> None:
        self.mule = mule
        self.pid = pid
        self.link = ends.link
        self.board = ends.board
        self.stacks = ends.stacks
        self.stdout = ends.stdout
        self.stderr = ends.stderr
        # None while it lives; negative for the unix signal that ended it.
        self.returncode: int | None = None
        self._ends = ends
        self._reap = reap
        self._pidfd = pidfd
        self._is_closed = False
        self._unwatch: Callable[[], object] | None = None

    def kill(self, signum: int) -> None:
        """Send *signum* to this process and no other, whatever became of its pid."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signum)

    def kill_group(self) -> None:
        """Send SIGKILL to the mule and the children it started.

        Does nothing after the death was reported: the children were killed then, and
        the number of the group may belong to others since.
        """
        # Until it is reaped, the leader's pid cannot be given to another group.
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def read_stacks(self) -> str:
        """Return the Python stacks that the mule wrote, at most 256 KiB of them."""
        data = os.pread(self.stacks, _STACKS_BYTES, 0)
        return data.decode(errors="backslashreplace")

    def close(self) -> None:
        """Close all descriptors; call it after the death was reported.

        The output that is left in ``stdout`` and ``stderr`` is lost with them, and
        so is the board. A second call does nothing.
        """
        if self._is_closed:
            return
        self._is_closed = True
        self._stop_watching()
        self._ends.close()
        os.close(self._pidfd)

    def watch(self, loop: asyncio.AbstractEventLoop, on_exit: "OnExit") -> None:
        """Have *loop* call *on_exit* once, with the return code, after the death."""
        loop.add_reader(self._pidfd, self._exited, on_exit)
        self._unwatch = partial(loop.remove_reader, self._pidfd)

    def _exited(self, on_exit: "OnExit") -> None:
        self._stop_watching()
        # Before the process is reaped; see kill_group.
        self.kill_group()
        self.returncode = self._reap()
        on_exit(self, self.returncode)

    def _stop_watching(self) -> None:
        if self._unwatch is not None:
            self._unwatch()
            self._unwatch = None


OnExit = Callable[[MuleProcess, int], None]


class Spawner:
    """Start mules, and report each death once.

    Args:
        loop: asyncio's or uvloop's.
        on_exit: Called with the process and its return code as subprocess gives it
            (negative: a unix signal). The process is reaped, what it left of its group
            is killed, and its descriptors are open until the callee closes it.
        command: What to execute; another one is for forkservers, and for tests.
        kind: Of the link.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_exit: OnExit,
        command: Sequence[str] = MULE_COMMAND,
        kind: socket.SocketKind = socket.SOCK_STREAM,
    ) -> None:
        self._loop = loop
        self._on_exit = on_exit
        self._command = tuple(command)
        self._kind = kind

    def spawn(self, spec: SpawnSpec) -> MuleProcess:
        """Start a process by *spec*.

        Only in the main thread: the kernel sends a mule its parent's death when the
        thread that started it ends.

        Raises:
            MuleSpawnError: It could not be started, or not as *spec* demands; nothing
                of it is left.
        """
        if threading.current_thread() is not threading.main_thread():
            raise AssertionError("mules are started by the main thread only")
        try:
            with ExitStack() as undo:
                process = self._start(spec, undo)
                undo.pop_all()
        except (OSError, ValueError, KeyError, subprocess.SubprocessError) as exc:
            raise MuleSpawnError(spec.name, str(exc)) from exc
        process.watch(self._loop, self._on_exit)
        return process

    def adopt(self, mule: MuleId, pid: int, ends: Ends) -> MuleProcess:
        """Take on a process that another forked, and that is a child of this one.

        Raises:
            ChildProcessError: It is no child of this one.
            OSError: There is no descriptor left.
        """
        # Nobody else reaps it, so its pid is not another's; but it may be a lie.
        pidfd = os.pidfd_open(pid)
        try:
            os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            os.close(pidfd)
            raise
        process = MuleProcess(mule, pid, pidfd, ends, partial(_reap, pid))
        process.watch(self._loop, self._on_exit)
        return process

    def _start(self, spec: SpawnSpec, undo: ExitStack) -> MuleProcess:
        """Start it; *undo* then holds what has to go if a later step fails."""
        with ExitStack() as childs:
            ours, theirs = open_ends(self._kind, spec.board_bytes, undo, childs)
            popen = _execute(self._command, spec, theirs)
        undo.callback(_abandon, popen)
        pidfd = os.pidfd_open(popen.pid)
        undo.callback(os.close, pidfd)
        _restrict(popen.pid, spec)
        return MuleProcess(spec.mule, popen.pid, pidfd, ours, popen.wait)


def _execute(
    command: Sequence[str], spec: SpawnSpec, theirs: Ends
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603  (our own interpreter, no shell)
        command,
        cwd=spec.cwd,
        env={**spec.env, "PYMULE_MULE": _mule_variable(spec, theirs)},
        stdin=subprocess.DEVNULL,
        stdout=theirs.stdout,
        stderr=theirs.stderr,
        pass_fds=(theirs.link.fileno(), theirs.board, theirs.stacks),
        close_fds=True,
        process_group=0,
        umask=-1 if spec.umask is None else spec.umask,
        user=spec.uid,
        group=_group_of(spec),
        extra_groups=None if spec.uid is None and spec.gid is None else [],
    )


def _mule_variable(spec: SpawnSpec, theirs: Ends) -> str:
    return json.dumps(
        {
            **spec.description(),
            "link": theirs.link.fileno(),
            "board": theirs.board,
            "stacks": theirs.stacks,
        }
    )


def _reap(pid: int) -> int:
    """Wait for a child; return its return code, as subprocess does."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _group_of(spec: SpawnSpec) -> int | None:
    """Return the group to change to; a user without one would keep the master's."""
    if spec.gid is None and spec.uid is not None:
        return pwd.getpwuid(spec.uid).pw_gid
    return spec.gid


def _restrict(pid: int, spec: SpawnSpec) -> None:
    """Set what the mule could not set itself after its user was changed.

    The process runs already, but needs milliseconds to start an interpreter; none of
    the user's code has been read yet.
    """
    if "core" not in spec.limits:
        _leave_no_core(pid)
    if spec.nice is not None:
        os.setpriority(os.PRIO_PROCESS, pid, spec.nice)
    for name, limits in spec.limits.items():
        number = getattr(resource, f"RLIMIT_{name.upper()}", None)
        if number is None:
            raise ValueError(f"unknown resource limit {name!r}")
        resource.prlimit(pid, number, limits)
    with contextlib.suppress(OSError):
        _make_killable(pid)


def _leave_no_core(pid: int) -> None:
    """Have a crash write no file with messages and secrets in it.

    The hard limit stays, so that a program may still ask for one.
    """
    # Without CAP_SYS_RESOURCE, as in some containers, root may not for another user.
    with contextlib.suppress(PermissionError):
        _, hard = resource.prlimit(pid, resource.RLIMIT_CORE)
        resource.prlimit(pid, resource.RLIMIT_CORE, (0, hard))


def _make_killable(pid: int) -> None:
    fd = os.open(f"/proc/{pid}/oom_score_adj", os.O_WRONLY)
    try:
        os.write(fd, _OOM_SCORE_ADJ)
    finally:
        os.close(fd)


def _abandon(popen: subprocess.Popen[bytes]) -> None:
    popen.kill()
    popen.wait()


def become_subreaper() -> None:
    """Have the kernel give this process the orphans of its mules.

    The daemon calls it once, before it starts the first mule.

    Raises:
        OSError: The kernel refused.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def reap_orphans(known_pids: Collection[int]) -> list[int]:
    """Reap ended processes that this one inherited; return their pids.

    The daemon calls it after each death that a :class:`Spawner` reported, when the
    orphans of that mule have become its own, and now and then besides: an orphan that
    ends by itself announces itself to nobody, and costs a line in the process table
    until then.

    Args:
        known_pids: Every child that somebody waits for. When one of these is the
            first to have ended, the sweep ends there: its owner is about to reap it,
            and what is behind it comes with the next call.
    """
    reaped: list[int] = []
    while len(reaped) < _REAP_AT_ONCE:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            break
        if ended is None or ended.si_pid in known_pids:
            break
        os.waitpid(ended.si_pid, 0)
        reaped.append(ended.si_pid)
    return reaped
