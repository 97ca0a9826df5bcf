"""huey: threads, on an SQLite file, which is synced at each change."""

import os
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from huey import SqliteHuey

from benchmarks.libraries.huey_line import opened
from benchmarks.libraries.lines import BUSY, DISK, BlockingLine
from benchmarks.notes import FOLDER
from benchmarks.programs.job import work

__all__ = ("consumer", "line")

_FILE = str(Path(os.environ[FOLDER], DISK, "huey.db"))

consumer = SqliteHuey(BUSY, filename=_FILE, results=False)
consumer.task(name="work")(work)


def line(queue: str) -> AbstractAsyncContextManager[BlockingLine]:
    """Open a queue."""
    return opened(SqliteHuey(queue, filename=_FILE, results=False))
