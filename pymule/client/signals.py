"""Raising signals and setting timers, from an application, a script or a mule."""

import asyncio
from weakref import WeakKeyDictionary

from pymule.client.aio import Client
from pymule.client.api import default_client
from pymule.sansio.signal_words import check_number
from pymule.sansio.timers import check_timer

__all__ = ("add_timer", "cancel_timer", "raise_signal")

# By client: the raises of this turn of the loop, by number.
_raising: WeakKeyDictionary[Client, dict[int, asyncio.Future[None]]] = (
    WeakKeyDictionary()
)


async def raise_signal(signum: int) -> None:
    """Let the handler of signal *signum* run at its target.

    Returns when the master has it. Raises of a signal that waits to be run already
    add nothing: after the last one, each target runs the handler at least once.

    Raises:
        ValueError: The number is out of range.
        NoHandlerError: Nobody has a handler for it, or nobody at its target.
        ConnectionLostError: The master went away before it answered.

    Cancelling: the signal may be raised all the same.
    """
    number = check_number(signum)
    client = await default_client()
    raising = _raising.setdefault(client, {})
    raised = raising.get(number)
    if raised is None:
        # One frame for all raises of this turn, since they are one signal.
        raised = raising[number] = client.loop.create_task(_raise(client, number))
        raised.add_done_callback(_take_error)
        client.loop.call_soon(raising.pop, number, None)
    await asyncio.shield(raised)


async def _raise(client: Client, number: int) -> None:
    await client.call("raise", signal=number)


def _take_error(raised: asyncio.Future[None]) -> None:
    """Let nobody complain of an error for which no caller waits any more."""
    if not raised.cancelled():
        raised.exception()


async def add_timer(signum: int, seconds: float, *, iterations: int = 0) -> int:
    """Raise signal *signum* every so many *seconds*; return the id of the timer.

    A timer that a mule sets ends with the mule, and goes on while the mule is
    restarted and sets it again; any other one lives as long as the master.

    Args:
        signum: It need not have a handler yet.
        seconds: From 0.001; 0 for one tick at once.
        iterations: How often it ticks; 0 is without end.

    Raises:
        ValueError: One of them is not allowed.
        ConnectionLostError: The master went away before it answered.
    """
    number = check_number(signum)
    check_timer(seconds, iterations)
    client = await default_client()
    answer = await client.call(
        "timer_add", signal=number, every=seconds, iterations=iterations
    )
    return int(str(answer["timer"]))


async def cancel_timer(timer: int) -> bool:
    """Disarm the timer with that id; tell whether it was armed."""
    client = await default_client()
    answer = await client.call("timer_cancel", timer=timer)
    return bool(answer["cancelled"])
