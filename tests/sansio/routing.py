"""Short words for what the tests of the router do again and again."""

from typing import Unpack

from pymule.sansio.alarms import AlarmKind
from pymule.sansio.batch import Batch
from pymule.sansio.delivery import DeliveryPolicy
from pymule.sansio.ledger import Ledger
from pymule.sansio.link import LinkId
from pymule.sansio.options import OptionWords, pack_options, read_options
from pymule.sansio.queue import Keeping, Limits, Queue
from pymule.sansio.record import Durability, Stored
from pymule.sansio.router import Answer, Losses, Router
from pymule.sansio.run import Hands, Parked, Run

__all__ = ("DURABLE", "Desk", "parked", "queue_of", "run_of")

DURABLE = Keeping(Durability.DISK)


def queue_of(limits: Limits | None = None, ledger: Ledger | None = None) -> Queue:
    limits, ledger = limits or Limits(), ledger or Ledger()
    return Queue("a", limits, DeliveryPolicy(), Keeping(), ledger)


def parked(*bodies: bytes, now: float = 0.0, **words: Unpack[OptionWords]) -> Parked:
    options = pack_options(**words)
    asked = read_options(options)
    return Parked(1, 1, Batch.of(bodies), 0, len(bodies), options, asked, now)


def run_of(
    count: int = 1,
    first_id: int = 1,
    *,
    queue: Queue | None = None,
    **words: Unpack[OptionWords],
) -> Run:
    """Make a run that is nowhere yet."""
    batch = Batch.of([b"%d" % (first_id + n) for n in range(count)])
    run = Run(queue or queue_of(), batch, 0, count, first_id)
    run.options = pack_options(**words)
    run.asked = read_options(run.options)
    if run.asked.ttl is not None:
        run.expires_at = run.asked.ttl
    return run


class Desk:
    """A router, with a sender at one side and links at the other.

    Args:
        names: Queues to open.
        limits: Of each queue.
        policy: Of each queue.
        keeping: Of each queue.
    """

    def __init__(
        self,
        *names: str,
        limits: Limits | None = None,
        policy: DeliveryPolicy | None = None,
        keeping: Keeping | None = None,
    ) -> None:
        self.router = Router()
        self._keeping = keeping or Keeping()
        self._limits = limits or Limits()
        self._policy = policy or DeliveryPolicy()
        self._sequences = dict.fromkeys(range(10), 1)
        for name in names:
            self.open(name)

    def open(
        self, name: str, limits: Limits | None = None, keeping: Keeping | None = None
    ) -> None:
        limits, keeping = limits or self._limits, keeping or self._keeping
        self.router.open_queue(name, limits, self._policy, keeping)

    def submit(
        self,
        target: str,
        *bodies: bytes,
        sender: int = 1,
        now: float = 0.0,
        **words: Unpack[OptionWords],
    ) -> list[Answer]:
        sequence = self._sequences[sender]
        self._sequences[sender] += len(bodies)
        options = pack_options(**words)
        due_at = read_options(options).due_at(now, wall=0.0)
        batch = Batch.of(bodies)
        self.router.submit(sender, sequence, target, batch, options, now, due_at)
        return self.router.take_answers()

    def write(self) -> list[Answer]:
        """Let a journal write what there is; return what senders are told."""
        facts = self.router.take_facts()
        stored = [fact for fact in facts if isinstance(fact, Stored)]
        self.router.stored([fact.row for fact in stored if not fact.is_kept])
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

    def sent(self, now: float = 0.0) -> list[tuple[int, list[bytes]]]:
        """Deliver; return to which link went which bodies."""
        return [
            (link, run.batch.bodies(run.first, run.count))
            for link, run in self.router.deliveries(now)
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
