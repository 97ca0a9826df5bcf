"""Short words for what the tests of the router do again and again."""

from pymule.sansio.alarms import AlarmKind
from pymule.sansio.batch import Batch
from pymule.sansio.delivery import DeliveryPolicy
from pymule.sansio.link import LinkId
from pymule.sansio.queue import Limits
from pymule.sansio.router import Answer, Losses, Router
from pymule.sansio.run import Hands

__all__ = ("Desk",)


class Desk:
    """A router, with a sender at one side and links at the other.

    Args:
        names: Queues to open.
        limits: Of each queue.
        policy: Of each queue.
    """

    def __init__(
        self,
        *names: str,
        limits: Limits | None = None,
        policy: DeliveryPolicy | None = None,
    ) -> None:
        self.router = Router()
        self._limits = limits or Limits()
        self._policy = policy or DeliveryPolicy()
        self._sequences = dict.fromkeys(range(10), 1)
        for name in names:
            self.open(name)

    def open(self, name: str, limits: Limits | None = None) -> None:
        self.router.open_queue(name, limits or self._limits, self._policy)

    def submit(self, target: str, *bodies: bytes, sender: int = 1) -> list[Answer]:
        sequence = self._sequences[sender]
        self._sequences[sender] += len(bodies)
        self.router.submit(sender, sequence, target, Batch.of(bodies), b"", 0.0)
        return self.router.take_answers()

    def link(self, number: int, *sources: str, credit: int = 0) -> LinkId:
        link = LinkId(number)
        self.router.add_link(link, sources)
        self.router.open_lane(link, 0, sources)
        if credit:
            self.router.credit(link, 0, credit)
        return link

    def grant(self, link: LinkId, more: int, lane: int = 0) -> None:
        delivered = self.router.links[link].lanes[lane].delivered
        self.router.credit(link, lane, delivered + more)

    def sent(self) -> list[tuple[int, list[bytes]]]:
        """Deliver; return to which link went which bodies."""
        return [
            (link, run.batch.bodies(run.first, run.count))
            for link, run in self.router.deliveries()
        ]

    def nack(
        self,
        link: LinkId,
        message: int,
        attempt: int = 1,
        *,
        delay: float | None = 0.0,
        is_final: bool = False,
    ) -> float | None:
        """Nack; return how long the message waits now."""
        self.router.nack(
            link,
            message,
            attempt,
            delay=delay,
            is_final=is_final,
            error={"type": "Oops"},
            jitter=0.5,
            now=9.0,
        )
        at = self.router.take_alarms().get((AlarmKind.DUE, message))
        return None if at is None else at - 9.0

    def due(self, message: int) -> None:
        self.router.alarm(AlarmKind.DUE, message)

    def gone(self, link: LinkId, *held: int, taken: int = 0) -> Losses:
        """End a link that had these positions of lane 0 in hand."""
        end = max([taken, *(position + 1 for position in held)])
        hands = {0: Hands(end, frozenset(held))} if end else {}
        return self.router.link_gone(link, hands, {"type": "MuleDied"}, 9.0)
