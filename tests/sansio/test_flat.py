"""What a message costs does not grow with what else there is.

Counted in bytecode instructions of :mod:`pymule`, so the numbers are the same on any
machine. What a C function walks through by itself is not seen; ``benchmarks.flat``
measures that.
"""

import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final

import pytest

import pymule
from benchmarks.worlds import FEW, MANY, WARM, Act, World, handle, signalled
from pymule.sansio.delivery import DeliveryPolicy
from pymule.sansio.queue import Limits
from pymule.sansio.router import Router

if TYPE_CHECKING:
    from _typeshed import TraceFunction

CODE: Final = str(Path(pymule.__file__).parent)
# What is to be flat may grow by this much, from few to many.
TOLERANCE: Final = 1.2


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

    for number in range(WARM):
        act(number)
    # Coverage is measured by it, too.
    before = sys.gettrace()
    sys.settrace(called)
    try:
        for number in range(WARM, 2 * WARM):
            act(number)
    finally:
        sys.settrace(before)
    return count


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
        router = Router()
        for number in range(count):
            router.open_queue(f"farm:{number}", Limits(), DeliveryPolicy())
        return lambda _number: list(router.targets)

    assert instructions(grows(64)) > instructions(grows(1)) * TOLERANCE
