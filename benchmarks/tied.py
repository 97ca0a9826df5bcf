"""Run a command that dies with the process that started it.

``python -m benchmarks.tied PARENT_PID COMMAND...``: even a benchmark that is killed by
SIGKILL leaves nobody behind.
"""

import ctypes
import os
import signal
import sys

__all__ = ("tie_to_parent",)

_PR_SET_PDEATHSIG = 1


def tie_to_parent(parent: int) -> None:
    """Have the kernel kill this process when *parent* dies; it outlives an exec."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit("the process that started this one is gone")


if __name__ == "__main__":
    tie_to_parent(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606  (our own words, no shell)
