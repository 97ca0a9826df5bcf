"""What a master may have many of, and what is done to one of them.

A *world* is made of a size, and its act does once what should cost the same at each
size. The tests count the instructions of a few acts, with few and with many; the
benchmark takes their time.
"""

from collections.abc import Callable
from typing import Final, Unpack

from pymule.sansio.batch import Batch
from pymule.sansio.delivery import DeliveryPolicy
from pymule.sansio.link import LinkId
from pymule.sansio.locks import LockTable, PeerId
from pymule.sansio.options import OptionWords, pack_options, read_options
from pymule.sansio.queue import Keeping, Limits
from pymule.sansio.record import Durability, Stored
from pymule.sansio.router import Router
from pymule.sansio.run import Hands
from pymule.sansio.seat import Wanted
from pymule.sansio.signals import Outcome, ReceiverId, SignalTable
from pymule.sansio.target import Target
from pymule.sansio.wheel import TimerWheel

__all__ = ("FEW", "MANY", "WARM", "Act", "World", "handle", "signalled")

Act = Callable[[int], object]
"""Does once, with a new number each time, what is measured."""

World = Callable[[int], Act]
"""Makes what there is, of a size, and what is done in it."""

WARM: Final = 32
"""Acts after which all is as it stays."""

_ROOMY: Final = Limits(max_messages=10**9, max_bytes=10**12)


class Desk:
    """A router, and those who send to it and ask it for messages.

    Args:
        names: Queues.
        keeping: Of each.
    """

    def __init__(self, *names: str, keeping: Keeping | None = None) -> None:
        self.router = Router()
        self._keeping = keeping or Keeping()
        self._sequence = 1
        for name in names:
            self.open(name, _ROOMY)

    def open(self, name: str, limits: Limits) -> None:
        policy = DeliveryPolicy(999, 999, backoff_s=0)
        self.router.open_queue(name, limits, policy, self._keeping)

    def submit(
        self,
        target: str,
        *bodies: bytes,
        sender: int = 1,
        **words: Unpack[OptionWords],
    ) -> None:
        batch, options = Batch.of(bodies or (b"x",)), pack_options(**words)
        due_at = read_options(options).due_at(0.0, wall=0.0) if options else None
        self.router.submit(sender, self._sequence, target, batch, options, 0.0, due_at)
        self._sequence += batch.count
        self.router.take_answers()

    def link(self, number: int, *sources: str) -> LinkId:
        """Let a mule ask for one message."""
        link = LinkId(number)
        self.router.add_link(link, sources)
        self.router.open_lane(link, 0, sources)
        self.router.credit(link, 0, 1)
        return link

    def write(self) -> None:
        """Let a journal write what there is."""
        facts = self.router.take_facts()
        rows = [f.row for f in facts if isinstance(f, Stored) and not f.is_kept]
        self.router.stored(rows)
        self.router.take_answers()


def messages(desk: Desk, target: str = "farm:a") -> Act:
    """Return an act: a message comes, one is delivered, and one is acked."""
    router = desk.router
    out = router.deliveries(0.0)

    def act(_number: int) -> None:
        desk.submit(target)
        out.extend(router.deliveries(0.0))
        link, run = out.pop(0)
        router.ack(link, run.first_id, run.count, run.attempts + 1)
        router.credit(link, 0, router.links[link].lanes[0].delivered + 1)
        out.extend(router.deliveries(0.0))
        router.take_alarms()

    return act


def farms(count: int) -> list[str]:
    return ["farm:a", *(f"farm:{number}" for number in range(1, count))]


def queued(count: int) -> Act:
    desk = Desk("farm:a")
    desk.link(1, "farm:a")
    for _ in range(max(count // 250, 1)):
        desk.submit("farm:a", *[b"x"] * min(count, 250))
    return messages(desk)


def queued_one_by_one(count: int) -> Act:
    desk = Desk("farm:a")
    desk.link(1, "farm:a")
    for _ in range(count):
        desk.submit("farm:a")
    return messages(desk)


def mules_that_wait(count: int) -> Act:
    desk = Desk("mule", "farm:a", *(f"mule{n}" for n in range(1, count + 1)))
    for number in range(1, count + 1):
        desk.link(number, f"mule{number}", "mule", "farm:a")
    return messages(desk)


def mules_at_work(count: int) -> Act:
    act = mules_that_wait(count)
    for number in range(2 * count):
        act(number)
    return act


def mules_with_work_for_all(count: int) -> Act:
    desk = Desk("farm:a")
    for number in range(1, count + 1):
        desk.link(number, "farm:a")
    for _ in range(2 * count):
        desk.submit("farm:a")
    return messages(desk)


def farms_of_each_mule(count: int) -> Act:
    desk = Desk(*farms(count))
    for number in range(1, 5):
        desk.link(number, *farms(count))
    return messages(desk)


def full_farms_of_each_mule(count: int) -> Act:
    desk = Desk(*farms(count))
    for name in farms(count):
        for _ in range(3):
            desk.submit(name)
    for number in range(1, 5):
        desk.link(number, *farms(count))
    return messages(desk)


def full_farms_of_other_mules(count: int) -> Act:
    desk = Desk(*farms(count))
    for number, name in enumerate(farms(count), start=1):
        desk.link(number, name)
        for _ in range(3):
            desk.submit(name)
    return messages(desk)


def senders_that_wait(count: int) -> Act:
    desk = Desk("farm:a")
    desk.open("farm:full", Limits(max_messages=1))
    desk.link(1, "farm:a")
    for sender in range(2, count + 2):
        desk.submit("farm:full", sender=sender)
    return messages(desk)


def keys_and_delays(count: int) -> Act:
    desk = Desk("farm:a")
    desk.link(1, "farm:a")
    for number in range(count):
        desk.submit("farm:a", key=f"{number}", delay=99.0)
        desk.submit("farm:a", key=f"{number}", ttl=99.0)
    return messages(desk)


def rows_that_are_written(count: int) -> Act:
    desk = Desk("farm:a", keeping=Keeping(Durability.DISK))
    desk.link(1, "farm:a")
    for _ in range(2 * WARM):
        desk.submit("farm:a")
    desk.write()
    act_on = messages(desk)
    # A journal that is slow has those before what the act submits.
    for _ in range(count):
        desk.submit("farm:a")
    desk.router.take_facts()

    def act(number: int) -> None:
        act_on(number)
        desk.write()

    return act


def names_that_are_unknown(count: int) -> Act:
    desk = Desk(*farms(count))
    return lambda _number: desk.submit("farm:none")


def deaths_of_one_mule(count: int) -> Act:
    desk = Desk("farm:a")
    for number in range(1, count + 1):
        desk.link(number, "farm:a")
    desk.open("farm:b", _ROOMY)
    desk.submit("farm:b")

    def act(number: int) -> None:
        link = desk.link(10_000 + number, "farm:b")
        desk.router.deliveries(0.0)
        desk.router.link_gone(link, {0: Hands(1, frozenset({0}))}, {}, 0.0)

    return act


def timers(count: int) -> Act:
    wheel = TimerWheel[int]()
    for number in range(count):
        wheel.arm(-number, 60.0 + number % 977 / 1000)

    def act(number: int) -> None:
        wheel.arm(number + 1, 10.0)
        wheel.next_due()
        wheel.disarm(number + 1)

    return act


def locks(count: int) -> Act:
    table = LockTable(1)
    for number in range(count):
        table.acquire("busy", PeerId(number), 1, None, 0.0)
        table.acquire(f"lock {number}", PeerId(number), 2, None, 0.0)

    def act(number: int) -> None:
        grant = table.acquire("free", PeerId(-1), number, None, 0.0)
        assert grant is not None
        table.release("free", PeerId(-1), grant.token, 0.0)

    return act


def signalled(count: int, target: str) -> SignalTable:
    table = SignalTable()
    for number in range(1, count + 1):
        receiver = ReceiverId(number)
        table.add_receiver(receiver, f"mule{number}", [], 0)
        table.register(receiver, Wanted(7, Target.parse(target), "a", "f", "f:1"))
        table.listen(receiver, is_listening=True)
    return table


def handle(table: SignalTable) -> None:
    for dispatch in reversed(table.take_dispatches(0.0)):
        table.handled(dispatch.receiver, dispatch.number, Outcome.DONE)
        table.listen(dispatch.receiver, is_listening=True)


def signals_of_the_first_available(count: int) -> Act:
    table = signalled(count, "mule")

    def act(_number: int) -> None:
        table.raise_signal(7)
        handle(table)

    return act


def signals_of_one_mule(count: int) -> Act:
    table = signalled(count, f"mule{count}")

    def act(_number: int) -> None:
        table.raise_signal(7)
        handle(table)

    return act


MANY: Final[dict[World, int]] = {
    queued: 1_000_000,
    queued_one_by_one: 20_000,
    mules_that_wait: 64,
    mules_at_work: 64,
    mules_with_work_for_all: 64,
    farms_of_each_mule: 1_000,
    full_farms_of_each_mule: 1_000,
    full_farms_of_other_mules: 1_000,
    senders_that_wait: 1_000,
    keys_and_delays: 1_000,
    rows_that_are_written: 1_000,
    names_that_are_unknown: 1_000,
    deaths_of_one_mule: 1_000,
    timers: 50_000,
    locks: 1_000,
    signals_of_the_first_available: 64,
    signals_of_one_mule: 64,
}
# An error has up to 50 names, and a wheel up to five levels. With one farm the message
# that comes is for the mule that has just been served, which is a shorter way; and of
# one message nothing has to be cut off.
FEW: Final[dict[World, int]] = {
    queued: 250,
    names_that_are_unknown: 64,
    timers: 5_000,
    full_farms_of_each_mule: 4,
    full_farms_of_other_mules: 4,
}
