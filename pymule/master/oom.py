"""Whether the kernel ran out of memory and killed something, as its counter tells.

A process that was killed for its memory looks like any that got SIGKILL; only the
counter of such kills, which covers control groups as well, makes the difference.
"""

from pathlib import Path
from typing import Final

__all__ = ("OomCounter",)

_VMSTAT: Final = Path("/proc/vmstat")


class OomCounter:
    """The kernel's count of processes killed for want of memory.

    Args:
        path: Where it is told; another file is for tests.
    """

    def __init__(self, path: Path = _VMSTAT) -> None:
        self._path = path
        self._seen = self._read()

    def has_risen(self) -> bool:
        """Tell whether it has risen since the last call."""
        before, self._seen = self._seen, self._read()
        return self._seen > before

    def _read(self) -> int:
        try:
            lines = self._path.read_text().splitlines()
        except OSError:
            return 0
        for line in lines:
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
        return 0
