"""What a message costs does not grow with what else there is.

Counted in bytecode instructions of :mod:`pymule`, so the numbers are the same on any
machine. What a C function walks through by itself is not seen; ``benchmarks.flat``
measures that.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final

import pytest

import pymule
from pymule.sansio.delivery import DeliveryPolicy
from pymule.sansio.locks import LockTable, PeerId
from pymule.sansio.queue import Keeping, Limits
from pymule.sansio.record import Durability
from pymule.sansio.run import Hands
from pymule.sansio.seat import Wanted
from pymule.sansio.signals import Outcome, ReceiverId, SignalTable
from pymule.sansio.target import Target
from pymule.sansio.wheel import TimerWheel
from tests.sansio.routing import Desk

if TYPE_CHECKING:
    from _typeshed import TraceFunction

Act = Callable[[int], object]
"""Does once, with a new number each time, what is counted."""

World = Callable[[int], Act]
"""Makes what there is, of a size, and what is done in it."""

CODE: Final = str(Path(pymule.__file__).parent)
ACTS: Final = 32
# What is to be flat may grow by this much, from few to many.
TOLERANCE: Final = 1.2
ROOMY: Final = Limits(max_messages=10**9, max_bytes=10**12)


def instructions(act: Act) -> int:
    """Return how many a few acts take, after as many to warm up."""
    count = 0

    def local(_frame: FrameType, event: str, _argument: object) -> "TraceFunction":
        nonlocal count
        count += event == "opcode"
        return local

    def called(
        frame: FrameType, _event: str, _argument: object
    ) -> "TraceFunction | None":
        if not frame.f_code.co_filename.startswith(CODE):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return local

    for number in range(ACTS):
        act(number)
    # Coverage is measured by it, too.
    before = sys.gettrace()
    sys.settrace(called)
    try:
        for number in range(ACTS, 2 * ACTS):
            act(number)
    finally:
        sys.settrace(before)
    return count


def desk_of(*names: str, keeping: Keeping | None = None) -> Desk:
    policy = DeliveryPolicy(backoff_s=0)
    return Desk(*names, limits=ROOMY, policy=policy, keeping=keeping)


def messages(desk: Desk, target: str = "farm:a") -> Act:
    """Return an act: a message comes, one is delivered, and one is acked."""
    router = desk.router
    out = router.deliveries(0.0)

    def act(_number: int) -> None:
        desk.submit(target, b"x")
        out.extend(router.deliveries(0.0))
        link, run = out.pop(0)
        router.ack(link, run.first_id, run.count, run.attempts + 1)
        desk.grant(link, 1)
        out.extend(router.deliveries(0.0))
        router.take_alarms()

    return act


def farms(count: int) -> list[str]:
    return ["farm:a", *(f"farm:{number}" for number in range(1, count))]


def queued(count: int) -> Act:
    desk = desk_of("farm:a")
    desk.link(1, "farm:a", credit=1)
    for _ in range(max(count // 250, 1)):
        desk.submit("farm:a", *[b"x"] * min(count, 250))
    return messages(desk)


def mules_that_wait(count: int) -> Act:
    desk = desk_of("mule", "farm:a", *(f"mule{n}" for n in range(1, count + 1)))
    for number in range(1, count + 1):
        desk.link(number, f"mule{number}", "mule", "farm:a", credit=1)
    return messages(desk)


def mules_at_work(count: int) -> Act:
    act = mules_that_wait(count)
    for number in range(2 * count):
        act(number)
    return act


def mules_with_work_for_all(count: int) -> Act:
    desk = desk_of("farm:a")
    for number in range(1, count + 1):
        desk.link(number, "farm:a", credit=1)
    for _ in range(2 * count):
        desk.submit("farm:a", b"x")
    return messages(desk)


def farms_of_each_mule(count: int) -> Act:
    desk = desk_of(*farms(count))
    for number in range(1, 5):
        desk.link(number, *farms(count), credit=1)
    return messages(desk)


def full_farms_of_each_mule(count: int) -> Act:
    desk = desk_of(*farms(count))
    for name in farms(count):
        for _ in range(3):
            desk.submit(name, b"x")
    for number in range(1, 5):
        desk.link(number, *farms(count), credit=1)
    return messages(desk)


def full_farms_of_other_mules(count: int) -> Act:
    desk = desk_of(*farms(count))
    for number, name in enumerate(farms(count), start=1):
        desk.link(number, name, credit=1)
        for _ in range(3):
            desk.submit(name, b"x")
    return messages(desk)


def senders_that_wait(count: int) -> Act:
    desk = desk_of("farm:a")
    desk.open("farm:full", Limits(max_messages=1))
    desk.link(1, "farm:a", credit=1)
    for sender in range(2, count + 2):
        desk._sequences[sender] = 1
        desk.submit("farm:full", b"x", sender=sender)
    return messages(desk)


def keys_and_delays(count: int) -> Act:
    desk = desk_of("farm:a")
    desk.link(1, "farm:a", credit=1)
    for number in range(count):
        desk.submit("farm:a", b"x", key=f"{number}", delay=99.0)
        desk.submit("farm:a", b"x", key=f"{number}", ttl=99.0)
    return messages(desk)


def rows_that_are_written(count: int) -> Act:
    desk = desk_of("farm:a", keeping=Keeping(Durability.DISK))
    desk.link(1, "farm:a", credit=1)
    for _ in range(2 * ACTS):
        desk.submit("farm:a", b"x")
    desk.write()
    act_on = messages(desk)
    # A journal that is slow has those before what the act submits.
    for _ in range(count):
        desk.submit("farm:a", b"x")
    desk.router.take_facts()

    def act(number: int) -> None:
        act_on(number)
        desk.write()

    return act


def names_that_are_unknown(count: int) -> Act:
    desk = desk_of(*farms(count))
    return lambda _number: desk.submit("farm:none", b"x")


def deaths_of_one_mule(count: int) -> Act:
    desk = desk_of("farm:a")
    for number in range(1, count + 1):
        desk.link(number, "farm:a", credit=1)
    policy = DeliveryPolicy(max_attempts=999, max_crashes=999)
    desk.router.open_queue("farm:b", ROOMY, policy)
    desk.submit("farm:b", b"x")

    def act(number: int) -> None:
        link = desk.link(10_000 + number, "farm:b", credit=1)
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
# An error has up to 50 names, and a wheel has up to five levels.
FEW: Final[dict[World, int]] = {names_that_are_unknown: 64, timers: 5_000}


@pytest.mark.parametrize("world", MANY, ids=lambda world: str(world.__name__))
def test_a_message_costs_the_same_with_few_and_with_many(
    world: World,
) -> None:
    few = instructions(world(FEW.get(world, 1)))

    many = instructions(world(MANY[world]))

    assert many <= few * TOLERANCE


def test_a_signal_for_all_mules_costs_as_much_for_each_of_them() -> None:
    def raises(count: int) -> Act:
        table = signalled(count, "mules")

        def act(_number: int) -> None:
            table.raise_signal(7)
            handle(table)

        return act

    few = instructions(raises(8))

    many = instructions(raises(64))

    assert many <= 8 * few * TOLERANCE


def test_what_grows_is_found() -> None:
    def grows(count: int) -> Act:
        desk = desk_of(*farms(count))
        return lambda _number: list(desk.router.targets)

    assert instructions(grows(64)) > instructions(grows(1)) * TOLERANCE
