"""A pymuled with quick restarts, and with planted bugs if asked for.

``python -m tests.chaos.saboteur NAME[,NAME...] WORDS-OF-PYMULED...``

The bugs are put into the classes of this process from the outside; pymule itself has
no switch for them. ``none`` plants nothing.
"""

import sys
from collections.abc import Callable
from typing import Final

from pymule.cli import pymuled
from pymule.client.reach import new_client_id
from pymule.errors import RefusedError
from pymule.master import plan
from pymule.master.clients import ClientPeer, Clients
from pymule.master.links import Links
from pymule.sansio.link import LinkId
from pymule.sansio.queue import Parked, Queue, Run
from pymule.sansio.router import Losses, Router
from pymule.sansio.submissions import Piece, SubmissionLog
from pymule.sansio.supervision import RestartPolicy
from pymule.sansio.verbs import Hello, Submit

__all__ = ("BUGS", "main")


def _plant(owner: object, name: str, bug: object) -> None:
    """Put *bug* in the place of what *owner* calls *name*."""
    assert hasattr(owner, name), f"{owner} has no {name}"
    setattr(owner, name, bug)


def _ack_early() -> None:
    """A message is done as soon as it is delivered."""
    deliver = Links.deliver

    def deliver_and_ack(self: Links, link: LinkId, run: Run) -> None:
        deliver(self, link, run)
        self._router.ack(link, run.first_id, run.count, run.attempts + 1)

    _plant(Links, "deliver", deliver_and_ack)


def _forget_requeue() -> None:
    """What was in hand when a mule died is forgotten."""

    def crashed(
        self: Router, run: Run, error: dict[str, object], losses: Losses, now: float
    ) -> None:
        del self, error, losses, now
        run.queue.settle(run)

    _plant(Router, "_crashed", crashed)


def _deliver_twice() -> None:
    """Every so often a batch is queued twice."""
    submit = Clients.submit
    count = 0

    def submit_twice(self: Clients, peer: ClientPeer, verb: Submit) -> None:
        nonlocal count
        submit(self, peer, verb)
        count += 1
        if count % 20 == 0:
            copy = ClientPeer(peer.number, peer.socket, peer.credentials)
            copy.client = new_client_id()
            submit(self, copy, verb)

    _plant(Clients, "submit", submit_twice)


def _lose_on_reconnect() -> None:
    """What a client that comes back sends first is taken for a repetition."""
    greet, split = Clients.greet, SubmissionLog.split
    doubted: set[int] = set()

    def greet_again(self: Clients, peer: ClientPeer, hello: Hello) -> None:
        log = peer.log
        greet(self, peer, hello)
        if peer.log is not log:
            doubted.add(id(peer.log))

    def split_wrongly(self: SubmissionLog, sequence: int, count: int) -> list[Piece]:
        if id(self) in doubted:
            doubted.discard(id(self))
            return [Piece(sequence, count, 1)]
        return split(self, sequence, count)

    _plant(Clients, "greet", greet_again)
    _plant(SubmissionLog, "split", split_wrongly)


def _reorder() -> None:
    """Every so often what was accepted last is delivered first."""
    accept = Queue.accept

    def accept_in_front(self: Queue, parked: Parked, count: int, first_id: int) -> None:
        accept(self, parked, count, first_id)
        if first_id % 3 == 0:
            self.ready.rotate(1)

    _plant(Queue, "accept", accept_in_front)


def _revive() -> None:
    """What is refused because the queue is full is queued all the same."""
    refuse = Router._refuse

    def refuse_and_keep(self: Router, parked: Parked, error: RefusedError) -> None:
        refuse(self, parked, error)
        queue = next(q for q in self.queues.values() if q.limits.refuses)
        queue.accept(parked, parked.count, self._next_id)
        self._next_id += parked.count

    _plant(Router, "_refuse", refuse_and_keep)


def _garble() -> None:
    """Every so often a message comes out of another queue than it went into."""
    submit = Router.submit
    count = 0

    def submit_elsewhere(self: Router, *words: object) -> None:
        nonlocal count
        count += 1
        sender, sequence, target, *rest = words
        if count % 20 == 0 and target == "mule":
            target = "farm:crowd"
        submit(self, sender, sequence, target, *rest)  # type: ignore[arg-type]

    _plant(Router, "submit", submit_elsewhere)


BUGS: Final[dict[str, Callable[[], None]]] = {
    "ack-early": _ack_early,
    "forget-requeue": _forget_requeue,
    "deliver-twice": _deliver_twice,
    "lose-on-reconnect": _lose_on_reconnect,
    "reorder": _reorder,
    "revive": _revive,
    "garble": _garble,
}


def main(words: list[str]) -> None:
    """Plant what *words* name first; then be pymuled."""
    names, *rest = words
    # Mules that are killed all the time are to be back soon.
    quick = RestartPolicy(backoff_s=0.02, backoff_max_s=0.1, max_deaths=1_000_000)
    _plant(plan, "RestartPolicy", lambda: quick)
    for name in names.split(","):
        if name != "none":
            BUGS[name]()
    sys.argv = ["pymuled", *rest]
    pymuled.main()


if __name__ == "__main__":
    main(sys.argv[1:])
