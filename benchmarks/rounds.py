"""Round by round, each peer in its turn: A B C A B C.

Side by side in one run, because a shared machine is faster at one minute than at the
next; a ratio of figures from the same round survives that, the figures do not.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar

from benchmarks.notes import PAYLOAD, SIZE
from benchmarks.stage import PeerError, Stage

__all__ = ("Options", "Outcome", "Peer", "failures_of", "play", "running")

R = TypeVar("R")

_WARM_S: Final = 30.0


class Peer(Protocol):
    """A module that can start one system for a round."""

    @property
    def NAME(self) -> str:  # noqa: N802  (a constant of a module)
        """What tables call it."""

    def start(
        self, stage: Stage, scenario: str, /
    ) -> AbstractContextManager[int | None]:
        """Start everything; yield the pid of the process in the middle, if any."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks for; ``None`` is the benchmark's own default.

    Attributes:
        messages: Measured in each round, for every peer.
        is_quick: Small numbers, for a look; no figures to publish.
        peers: Names of those to run; empty is all.
    """

    rounds: int | None = None
    messages: int | None = None
    is_quick: bool = False
    peers: tuple[str, ...] = ()

    def wants(self, peer: Peer) -> bool:
        """Tell whether *peer* takes part."""
        return not self.peers or peer.NAME in self.peers


@dataclass(slots=True)
class Outcome(Generic[R]):
    """What one peer did: a result for each round, or why it is out."""

    rounds: list[R] = field(default_factory=list)
    failure: str | None = None

    def values(self, pick: Callable[[R], float]) -> list[float]:
        """Return a figure of each round; none if the peer failed."""
        return [] if self.failure is not None else list(map(pick, self.rounds))


def failures_of(outcomes: Mapping[str, Outcome[R]]) -> tuple[str, ...]:
    """Return a line for each peer that did not run."""
    return tuple(
        f"{name} {outcome.failure}"
        for name, outcome in outcomes.items()
        if outcome.failure is not None
    )


def play(
    peers: Sequence[Peer], rounds: int, round_of: Callable[[Peer], R]
) -> dict[str, Outcome[R]]:
    """Play all rounds; a peer that fails once is out, and its outcome says why."""
    outcomes: dict[str, Outcome[R]] = {peer.NAME: Outcome() for peer in peers}
    for at in range(rounds):
        for peer in peers:
            outcome = outcomes[peer.NAME]
            if outcome.failure is not None:
                continue
            print(f"  round {at + 1} of {rounds}: {peer.NAME}", file=sys.stderr)
            try:
                outcome.rounds.append(round_of(peer))
            except PeerError as exc:
                outcome.failure = f"did not run: {exc}"
                print(f"  {peer.NAME} {outcome.failure}", file=sys.stderr)
    return outcomes


@contextmanager
def running(
    peer: Peer, scenario: str, count: int, size: int = len(PAYLOAD)
) -> Iterator[tuple[Stage, int | None]]:
    """Start *peer* on a stage of its own; what is left is to say go."""
    words = {SIZE: str(size)}
    with (
        Stage(scenario, count, **words) as stage,
        peer.start(stage, scenario) as middle,
    ):
        stage.wait("warm", within=_WARM_S)
        yield stage, middle
