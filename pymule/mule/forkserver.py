"""``python -m pymule.mule.forkserver``: imports once, then forks mules for the master.

How a mule is born::

    master            forkserver          between            mule

    fork ---------->  fork() ---------->  fork() --------->  waits for WELCOME
                      waits for its end   says the pid
                                          ends
           <--------  forked, pid                            is a child of the master
    WELCOME -------------------------------------------->    asks to die with it

The kernel gives the child of a process that ended to the next of its ancestors that is
a subreaper, which is the master. So a mule that was forked is what a mule that was
spawned is: a child whose end the master sees and whose status it gets, that the kernel
kills when the master dies, and that outlives its forkserver. CLONE_PARENT would do it
with one fork, but behind the back of the C library and of Python, whose locks and
threads need to know of a fork.

Nothing here has an event loop or a thread, and what the application starts of these
while it is imported makes a forkserver unfit.
"""

import asyncio
import errno
import gc
import importlib
import os
import signal
import socket
import sys
import threading
import time
import traceback
import types
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from pymule.mule.hands import describe_error
from pymule.mule.inherited import EXIT_ORPHANED, Inherited
from pymule.mule.program import be_mule
from pymule.sansio.forkserver import (
    DESCRIPTORS,
    MAX_WORD_BYTES,
    Broken,
    Fork,
    Forked,
    Loaded,
    NotForked,
    Preload,
    Unfit,
    Word,
    read_word,
    write_word,
)

__all__ = ("main",)

_Handler = (
    Callable[[int, types.FrameType | None], object] | int | signal.Handlers | None
)

# How often, and after how many seconds, threads are looked for that do not end.
_LOOKS: Final = 20
_LOOK_S: Final = 0.005


def main() -> int:
    """Be the forkserver that ``PYMULE_MULE`` describes, or a mule that it forked.

    Returns:
        The exit status, of the mule; a forkserver ends here.
    """
    inherited = Inherited.from_environ(os.environ)
    if not inherited.tie_to_master():
        return EXIT_ORPHANED
    inherited.settle()
    forkserver = _Forkserver(inherited)
    mule = forkserver.run()
    if mule is not None:
        return be_mule(mule, is_forked=True)
    sys.stdout.flush()
    sys.stderr.flush()
    # What the application wants done at its exit is for the mules to do.
    os._exit(forkserver.status)


class _Forkserver:
    """The life of a forkserver, and the birth of its mules."""

    def __init__(self, inherited: Inherited) -> None:
        self._inherited = inherited
        self.status = 0
        self._master = socket.socket(fileno=inherited.link)
        self._sigchld: _Handler = signal.SIG_DFL
        # Those of the kernel, and after which import each was seen first.
        self._threads: dict[int, str] = {}

    def run(self) -> Inherited | None:
        """Serve the master; return what a mule inherits, in the mule alone."""
        word, _ = self._hear()
        if not isinstance(word, Preload) or not self._load(word):
            return None
        # Whoever forks waits for a child; what the application set is for the mules.
        self._sigchld = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        gc.collect()
        reasons = self._unfit_for()
        # Objects that no collection visits stay in memory that the mules share.
        gc.freeze()
        self._say(Unfit(reasons) if reasons else Loaded())
        while True:
            word, fds = self._hear()
            if not isinstance(word, Fork):
                return None
            mule = self._fork(word, fds)
            if mule is not None:
                return mule

    def _say(self, word: Word) -> None:
        # When the master is gone, there is nobody to be heard next either.
        with suppress(OSError):
            self._master.send(write_word(word))

    def _hear(self) -> tuple[Word | None, list[int]]:
        """Wait for a word and its descriptors; ``None`` is the end."""
        try:
            data, fds, _, _ = socket.recv_fds(
                self._master,
                MAX_WORD_BYTES,
                len(DESCRIPTORS),
                socket.MSG_CMSG_CLOEXEC,
            )
        except ConnectionResetError:
            return None, []
        return (read_word(data) if data else None), fds

    # What is shared

    def _load(self, preload: Preload) -> bool:
        sys.path[:0] = preload.python_path
        try:
            if preload.uwsgi:
                # As in uWSGI's master: mule 0, in no farm.
                compat = importlib.import_module("pymule.compat.mules")
                compat.prepare({"id": 0, "farms": []})
            for name in preload.modules:
                importlib.import_module(name)
                for thread in _threads():
                    self._threads.setdefault(thread, name)
        except BaseException as exc:  # noqa: BLE001  (the user's code)
            traceback.print_exception(exc)
            self._say(Broken(describe_error(exc)))
            self.status = 1
            return False
        return True

    def _unfit_for(self) -> list[str]:
        """Return what a fork would not have, although the application counts on it."""
        if threading.active_count() == 1:
            # Libraries that know of forks, as OpenBLAS, end their threads before one.
            _fork_for_nothing()
        names = {thread.native_id: thread.name for thread in threading.enumerate()}
        reasons = [
            f"thread {names.get(thread) or _name_of(thread)!r}, which the import of"
            f" {self._threads.get(thread)!r} started"
            for thread in _other_threads()
        ]
        if count := _count_open_loops():
            reasons.append(f"event loops that are not closed: {count}")
        return reasons

    # The birth of a mule

    def _fork(self, word: Fork, fds: Sequence[int]) -> Inherited | None:
        """Fork a mule; return what it inherits, in the mule alone."""
        reader, writer = os.pipe()
        try:
            between = _fork_with(fds)
        except OSError as exc:
            told = str(exc)
            os.close(writer)
        else:
            if not between:
                _leave_a_child(writer)
                os.close(reader)
                os.close(writer)
                return self._become(word, fds)
            os.close(writer)
            os.waitpid(between, 0)
            told = os.read(reader, 1024).decode() or "the process between was killed"
        os.close(reader)
        # The mule has its own: as long as ours were open, nobody would see its end.
        for fd in fds:
            os.close(fd)
        self._say(
            Forked(word.number, int(told))
            if told.isdecimal()
            else NotForked(word.number, told)
        )
        return None

    def _become(self, word: Fork, fds: Sequence[int]) -> Inherited:
        """Exchange what is the forkserver's for what is the mule's."""
        link, board, stacks, stdout, stderr = fds
        os.dup2(stdout, 1)
        os.dup2(stderr, 2)
        mine = self._inherited
        for fd in (stdout, stderr, mine.board, mine.stacks):
            os.close(fd)
        self._master.close()
        if self._sigchld is not None:
            signal.signal(signal.SIGCHLD, self._sigchld)
        mule = word.mule
        return Inherited(
            title=str(mule["title"]),
            master=mine.master,
            drops=mine.drops,
            link=link,
            board=board,
            stacks=stacks,
        )


def _fork_with(fds: Sequence[int]) -> int:
    """Fork, if all of *fds* came; some do not if this process has too many."""
    if len(fds) < len(DESCRIPTORS):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    return os.fork()


def _leave_a_child(writer: int) -> None:
    """Fork, tell the pid, and end; return in the child alone."""
    try:
        mule = os.fork()
        if not mule:
            return
        os.setpgid(mule, mule)
        told = str(mule)
    except BaseException as exc:  # noqa: BLE001  (this process must end here)
        told = f"{exc}"
    os.write(writer, told.encode())
    os._exit(0)


def _fork_for_nothing() -> None:
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)


def _threads() -> set[int]:
    return {int(name) for name in os.listdir("/proc/self/task")}  # noqa: PTH208  (its names are all we want)


def _other_threads() -> set[int]:
    """Return the threads that stay beside this one."""
    others: set[int] = set()
    for _ in range(_LOOKS):
        others = _threads() - {threading.get_native_id()}
        if not others:
            break
        # One that was joined is still on its way out.
        time.sleep(_LOOK_S)
    return others


def _name_of(thread: int) -> str:
    try:
        return Path(f"/proc/self/task/{thread}/comm").read_text().strip()
    except OSError:
        return str(thread)


def _count_open_loops() -> int:
    return sum(
        not item.is_closed()
        for item in gc.get_objects()
        # By its type: to ask some objects for their class is to run code of theirs.
        if issubclass(type(item), asyncio.AbstractEventLoop)
    )


if __name__ == "__main__":
    sys.exit(main())
