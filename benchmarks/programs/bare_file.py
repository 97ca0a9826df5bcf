"""The least that a confirmed message costs on a disk: a write and an fdatasync."""

import os
import sys
from pathlib import Path
from time import monotonic, perf_counter

from benchmarks.notes import COUNT, PAYLOAD, WARM_UP, note, wait_for

__all__ = ("write",)


def write(path: Path, *, is_allocated: bool) -> None:
    """Write messages one by one; to the end of a file, or into one that is as large.

    A file that grows has its new size synced too, which costs more.
    """
    number = int(os.environ[COUNT])
    fd = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    if is_allocated:
        os.write(fd, bytes((WARM_UP + number) * len(PAYLOAD)))
        os.fsync(fd)
        os.lseek(fd, 0, os.SEEK_SET)
    for _ in range(WARM_UP):
        os.write(fd, PAYLOAD)
        os.fdatasync(fd)
    note("warm")
    wait_for("go")
    times = []
    for _ in range(number):
        start = perf_counter()
        os.write(fd, PAYLOAD)
        os.fdatasync(fd)
        times.append(perf_counter() - start)
    note("measured", times=times)
    note("received", at=monotonic(), size=number * len(PAYLOAD))


if __name__ == "__main__":
    write(Path(sys.argv[2], "bare"), is_allocated=sys.argv[1] == "in-place")
