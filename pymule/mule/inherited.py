"""What a process of the master inherits, and the first that it does with it.

A mule that is spawned, and a forkserver, find it in the environment variable
``PYMULE_MULE``; to a mule that is forked, its forkserver hands it on.
"""

import faulthandler
import io
import json
import os
import signal
import sys
from collections.abc import MutableMapping
from typing import Final, Self

from pymule.sansio.slots import frozen
from pymule.scoreboard import STACKS_SIGNAL

__all__ = ("EXIT_ORPHANED", "Inherited")

EXIT_ORPHANED: Final = 75
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38


@frozen
class Inherited:
    """Three descriptors, and who the master is.

    Args:
        title: What ps(1) shows.
        master: The pid that the parent must have.
        drops: Whether the user or group was changed.
        link: One end of a socketpair.
        board: Shared memory.
        stacks: Of an empty file for stacks.
    """

    title: str
    master: int
    drops: bool
    link: int
    board: int
    stacks: int

    @classmethod
    def from_environ(cls, environ: MutableMapping[str, str]) -> Self:
        """Take it out of *environ*, so that no child takes itself for a mule."""
        found = json.loads(environ.pop("PYMULE_MULE"))
        return cls(
            title=found["title"],
            master=found["master"],
            drops=bool(found.get("drops")),
            link=found["link"],
            board=found["board"],
            stacks=found["stacks"],
        )

    def tie_to_master(self) -> bool:
        """Have the kernel kill this process when the master dies; tell if it lives.

        Only now, because a change of the user would undo it. With *drops*, no program
        that is set-user-ID gives back what the master took away.
        """
        # A mule that is blocked would outlive its master without it.
        _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
        if self.drops and _prctl(_PR_SET_NO_NEW_PRIVS, 1):
            raise OSError("the kernel did not take no_new_privs")
        return os.getppid() == self.master

    def settle(self) -> None:
        """Make this process one that can be watched and told apart, as ours are."""
        for fd in (self.link, self.board, self.stacks):
            os.set_inheritable(fd, False)  # noqa: FBT003  (positional only)
        # A Ctrl-C in the terminal is the master's to handle.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        faulthandler.enable()
        faulthandler.register(STACKS_SIGNAL, file=self.stacks, all_threads=True)
        _set_title(self.title)
        for stream in (sys.stdout, sys.stderr):
            # Into a pipe python writes in blocks; people want to see a line when it is
            # printed.
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(line_buffering=True)


def _prctl(option: int, value: int) -> int:
    # Not ctypes itself, which takes six times as long to load: 1.2 ms.
    import _ctypes  # noqa: PLC0415  (only here, and only in a mule)

    own = _ctypes.dlopen(None, os.RTLD_NOW)  # type: ignore[arg-type]  # None: this one
    function = _ctypes.dlsym(own, "prctl")
    result: int = _ctypes.call_function(function, (option, value, 0, 0, 0))
    return result


def _set_title(title: str) -> None:
    from setproctitle import setproctitle  # noqa: PLC0415  (only in a mule)

    setproctitle(title)
