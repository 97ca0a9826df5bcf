"""Puts new mules in the place of the old ones, in their order."""

from collections.abc import Callable
from itertools import islice

from pymule.master.generation import Generation, MuleSpec
from pymule.master.mules import Mules
from pymule.master.plan import Plan
from pymule.sansio.target import MuleId

__all__ = ("replace_all",)


async def replace_all(
    mules: Mules, plan: Plan, on_replaced: Callable[[], None]
) -> MuleId | None:
    """Start each mule of *plan* anew, and retire the old one when the new one is up.

    The first goes ahead alone, because most mistakes show there; then as many are on
    their way at a time as may start at a time. Where one does not start, it ends: that
    mule and those after it stay as they were.

    Cancelling is safe: what has begun is among those that are arriving.

    Args:
        mules: All of the master.
        plan: What they are to be.
        on_replaced: Called after each.

    Returns:
        The first that did not start.
    """
    specs, arriving = iter(plan.mules.values()), mules.arriving

    def begin(spec: MuleSpec) -> None:
        generation = mules.add(spec, plan.restarts)
        arriving.append(generation)
        mules.start(generation)

    for spec in islice(specs, 1):
        begin(spec)
    while arriving:
        generation = arriving[0]
        if not await generation.started:
            while arriving:
                mules.retire(arriving.pop())
            return generation.spec.id
        del arriving[0]
        _replace(mules, generation)
        on_replaced()
        for spec in islice(specs, mules.starts_at_once - len(arriving)):
            begin(spec)
    return None


def _replace(mules: Mules, generation: Generation) -> None:
    number = generation.spec.id
    old = mules.current.get(number)
    mules.current[number] = generation
    if old is not None:
        generation.last_exit = generation.last_exit or old.last_exit
        mules.retire(old)
