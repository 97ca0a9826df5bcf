"""How much CPU a message takes of all processes that it passes, over a plain queue's.

Not the time on the clock, which is that of others as well; and the least of several
rounds, because what disturbs a process only adds to it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from benchmarks.floods import Round, flood
from benchmarks.peers import pymule, queue
from benchmarks.rounds import Peer
from benchmarks.stage import Stage

__all__ = ("Planted", "cost_over_queue")

_ROUNDS: Final = 5
_COUNT: Final = 100_000
_QUEUE_COUNT: Final = 20_000
_SLOW_PROGRAM: Final = "benchmarks.programs.planted_mule:count"


class Planted:
    """pymule, with a mule that takes its time."""

    NAME = "pymule, slowed down"

    @contextmanager
    def start(self, stage: Stage, scenario: str, /) -> Iterator[int | None]:
        """Start everything; yield the pid of the master."""
        words = (f"--mule={_SLOW_PROGRAM}", "--socket", str(stage.socket))
        with pymule.running_daemon(stage, *words) as pid:
            stage.start_python("benchmarks.programs.pymule_sender", scenario)
            yield pid


def cost_over_queue(peer: Peer = pymule, count: int = _COUNT) -> float:
    """Return the CPU time of a message through *peer*, over ``multiprocessing.Queue``.

    Raises:
        PeerError: One of them does not run here.
    """
    costs, references = [], []
    for _ in range(_ROUNDS):
        costs.append(flood(peer, count))
        references.append(flood(queue, min(count, _QUEUE_COUNT)))
    return _least(costs) / _least(references)


def _least(rounds: Sequence[Round]) -> float:
    """Return the least CPU time of each process, in all."""
    return (
        min(one.sender_us for one in rounds)
        + min(one.middle_us or 0.0 for one in rounds)
        + min(one.receiver_us for one in rounds)
    )
