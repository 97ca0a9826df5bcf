"""What an event loop sends to, when the question is what that does to the loop."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Final

from benchmarks.peers.pymule import daemon
from benchmarks.peers.redis_server import redis_running
from benchmarks.stage import Stage

__all__ = ("NOTHING", "PYMULE", "REDIS", "VARIANTS", "LoopSender")


@dataclass(frozen=True, slots=True)
class LoopSender:
    """One of them.

    Attributes:
        side: Of the program that sends.
    """

    NAME: str
    side: str

    @contextmanager
    def start(self, stage: Stage, _scenario: str) -> Iterator[int | None]:
        """Start everything, also who takes what is sent."""
        is_pymule = self.side == "pymule"
        with daemon(stage, "sink") if is_pymule else nullcontext() as pid:
            if self.side == "redis":
                redis_running(stage)
                stage.start_python("benchmarks.programs.redis_popper")
            stage.start("pulse", sys.executable, "-m", "benchmarks.pulse")
            stage.start_python("benchmarks.programs.sending_loop", self.side)
            yield pid


NOTHING: Final = LoopSender("nothing is sent", "nothing")
PYMULE: Final = LoopSender("pymule, confirmed", "pymule")
REDIS: Final = LoopSender("Redis list, an LPUSH each", "redis")
VARIANTS: Final = (NOTHING, PYMULE, REDIS)
