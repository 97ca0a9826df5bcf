"""A Redis list, by redis-py with hiredis over the Unix socket: no acknowledgement."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from benchmarks.peers.redis_server import SERVER, redis_running
from benchmarks.stage import Stage

__all__ = ("BULK", "SINGLE", "VARIANTS", "RedisList")


@dataclass(frozen=True, slots=True)
class RedisList:
    """One way to use it.

    Attributes:
        suffix: Of the names of roles.
    """

    NAME: str
    suffix: str

    @contextmanager
    def start(self, stage: Stage, _scenario: str) -> Iterator[int | None]:
        """Start everything; yield the pid of the server."""
        socket = str(redis_running(stage))
        program = "benchmarks.programs.redis_pair"
        stage.start_python(program, f"receive{self.suffix}", socket)
        stage.start_python(program, f"send{self.suffix}", socket)
        yield stage.pid_of(SERVER)


SINGLE: Final = RedisList("Redis list, LPUSH and BRPOP", "")
BULK: Final = RedisList("Redis list, LPUSH of 1,000, BLMPOP of 100", "_bulk")
VARIANTS: Final = (SINGLE, BULK)
