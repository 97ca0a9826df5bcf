"""Job libraries from PyPI, each with one worker, in the settings that it asks for."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Final

from benchmarks.libraries.lines import DISK, SLOTS
from benchmarks.peers.producers import start_producer
from benchmarks.peers.redis_server import redis_running
from benchmarks.stage import PeerError, Stage

__all__ = (
    "ARQ",
    "CELERY",
    "PROCESS_POOL",
    "TASKIQ",
    "VARIANTS",
    "JobLibrary",
    "versions",
)

_LIBRARIES: Final = "benchmarks.libraries"
_ARQ: Final = "arq"
_NOTHING: Final = "nothing (Redis without a file)"


@dataclass(frozen=True, slots=True)
class JobLibrary:
    """One of them.

    Attributes:
        module: In ``benchmarks.libraries``.
        survives: What becomes of a job that was taken when everything is killed.
        settings: For people: how its worker runs.
        worker: Words after ``python -m``; ``{redis}`` is the socket of the server.
        slow: More words where jobs are slow, for eight at a time.
        folder: Beside Python, where its package is; for one that does not get along
            with the packages of the others.
    """

    NAME: str
    module: str
    survives: str
    settings: str
    worker: tuple[str, ...] = ()
    slow: tuple[str, ...] = ()
    has_redis: bool = True
    folder: str | None = None

    @contextmanager
    def start(self, stage: Stage, scenario: str) -> Iterator[int | None]:
        """Start the server, if it has one, the worker and, for jobs, the producer."""
        (stage.folder / DISK).symlink_to(stage.state)
        socket = redis_running(stage) if self.has_redis else None
        words = [*self.worker, *(self.slow if scenario == "slow" else ())]
        if words:
            worker = [word.format(redis=socket) for word in words]
            stage.start(self.module, *self.python(), "-m", *worker)
        start_producer(stage, scenario, self)
        yield None if socket is None else stage.pid_of("redis-server")

    def python(self) -> tuple[str, ...]:
        """Return the words that start a Python which has the library."""
        if self.folder is None:
            return (sys.executable,)
        path = Path(sys.prefix, self.folder)
        if not path.exists():
            raise PeerError(f"no {self.module} here; make bench installs it")
        root = Path(__file__).parents[2]
        return ("env", f"PYTHONPATH={path}:{root}", sys.executable)


ARQ: Final = JobLibrary(
    "arq",
    "arq",
    _NOTHING,
    "32 jobs at a time, polls each 0.5 s",
    ("arq", f"{_LIBRARIES}.arq.WorkerSettings"),
    folder=_ARQ,
)
TASKIQ: Final = JobLibrary(
    "taskiq",
    "taskiq",
    _NOTHING,
    "Redis stream, 1 process, 100 tasks at a time",
    ("taskiq", "worker", f"{_LIBRARIES}.taskiq:broker", "--workers", "1"),
    ("--max-async-tasks", str(SLOTS)),
)
CELERY: Final = JobLibrary(
    "Celery",
    "celery",
    _NOTHING,
    "a process for each core, prefetch 64, no results",
    (
        *("celery", "--app", f"{_LIBRARIES}.celery", "worker"),
        *("--loglevel", "WARNING", "--queues", "busy"),
        *("--without-gossip", "--without-mingle", "--without-heartbeat"),
    ),
    ("--concurrency", str(SLOTS)),
)
PROCESS_POOL: Final = JobLibrary(
    "ProcessPoolExecutor",
    "process_pool",
    "nothing",
    "spawned processes",
    has_redis=False,
)
VARIANTS: Final = (
    TASKIQ,
    JobLibrary(
        "SAQ",
        "saq",
        _NOTHING,
        "32 jobs at a time",
        ("saq", f"{_LIBRARIES}.saq.SETTINGS"),
    ),
    JobLibrary(
        "streaq",
        "streaq",
        _NOTHING,
        "32 tasks at a time",
        ("streaq", "run", f"{_LIBRARIES}.streaq:worker"),
    ),
    ARQ,
    JobLibrary(
        "dramatiq",
        "dramatiq",
        _NOTHING,
        "1 process, 8 threads",
        (
            *("dramatiq", f"{_LIBRARIES}.dramatiq"),
            *("--processes", "1", "--threads", "8", "--queues", "busy"),
        ),
    ),
    JobLibrary(
        "huey, Redis",
        "huey_redis",
        _NOTHING,
        "1 thread",
        ("huey.bin.huey_consumer", f"{_LIBRARIES}.huey_redis.consumer"),
    ),
    JobLibrary(
        "huey, SQLite",
        "huey_sqlite",
        "a power cut, what has not begun",
        "1 thread",
        ("huey.bin.huey_consumer", f"{_LIBRARIES}.huey_sqlite.consumer"),
        has_redis=False,
    ),
    JobLibrary(
        "RQ",
        "rq",
        _NOTHING,
        "a process forked for each job",
        ("rq.cli", "worker", "--url", "unix://{redis}", "--quiet", "busy"),
    ),
    CELERY,
)


def versions() -> dict[str, str]:
    """Return the version of what is in a folder of its own."""
    found = distributions(name=_ARQ, path=[str(Path(sys.prefix, _ARQ))])
    return {one.name: one.version for one in found}
