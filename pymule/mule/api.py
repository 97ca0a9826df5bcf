"""What an asyncio program in a mule calls to get messages.

One rule: asking for the next message acknowledges the last one. Until then the
message is leased to this mule; if the process dies, or the task that has it raises,
the message goes to another mule.
"""

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Callable, Sized
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from threading import get_ident

from pymule.mule.inbox import Hand
from pymule.mule.link import LaneKey
from pymule.mule.message import Message
from pymule.mule.process import runtime

__all__ = (
    "farm_get_msg",
    "messages",
    "mule_get_msg",
    "receive",
    "running_hands",
    "signal_wait",
)

_Task = asyncio.Task[object]

# The hands of the runtime, by task: shared with it, so that the short path finds them
# without a call. Filled by the runtime when this process becomes a mule.
running_hands: dict[object, Hand] = {}
# By thread: the loop that runs there.
_loops: dict[int, asyncio.AbstractEventLoop] = {}

# asyncio.current_task costs 250 ns on CPython 3.11, which asks the kernel for the pid
# each time. The task of this thread's loop is found faster, and faster still while
# there is one thread only: a get from a batch that is here takes 380 ns and 310.
# Remove when 3.12 is the floor.
_current_tasks: dict[object, _Task] = {}
_threads: Sized = (None, None)
_only_loop: asyncio.AbstractEventLoop | None = None

if sys.version_info >= (3, 12):
    _current_task: Callable[[], _Task | None] = asyncio.current_task
else:
    # Neither is in the type stubs: each running loop's task, and all threads.
    _current_tasks = vars(asyncio.tasks)["_current_tasks"]
    _threads = vars(threading)["_active"]

    def _current_task() -> _Task | None:
        return _current_tasks.get(_loops.get(get_ident()))


async def mule_get_msg(
    *,
    signals: bool = True,
    farms: bool = True,
    timeout: float | None = None,  # noqa: ASYNC109  (uWSGI's)
) -> bytes:
    """Return the next message for this mule; wait for one.

    Args:
        signals: Run the handlers of signals while this waits.
        farms: Also take what is for the farms of this mule.
        timeout: Seconds to wait at most.

    Raises:
        TimeoutError: No message came in time.
        NotInMuleError: This process is not a mule.

    Cancelling is safe: a message is taken only on return.
    """
    # The short path; why it is safe is told in the module of the inbox. Inlined, and
    # without a clock: a call more costs 35 ns, the clock 130, of 310.
    hand = running_hands.get(
        _current_tasks.get(_only_loop) if len(_threads) == 1 else _current_task()
    )
    if hand is not None and hand.key is farms:
        lane = hand.lane
        for body in lane.walk:
            word = lane.word
            lane.words[hand.slot] = word
            lane.word = word + 2
            return body
        if signals and timeout is None:
            return await runtime("mule_get_msg").take_next(hand)
    if not signals:
        with runtime("mule_get_msg").signals.deaf():
            return await _get("mule_get_msg", farms, timeout)
    return await _get("mule_get_msg", farms, timeout)


async def farm_get_msg(
    farm: str | None = None,
    *,
    timeout: float | None = None,  # noqa: ASYNC109  (uWSGI's)
) -> bytes:
    """Return the next message for *farm*, or for any farm of this mule.

    Raises:
        TimeoutError: No message came within *timeout* seconds.
        ValueError: This mule is not in that farm, or in none.
        NotInMuleError: This process is not a mule.

    Cancelling is safe: a message is taken only on return.
    """
    hand = running_hands.get(
        _current_tasks.get(_only_loop) if len(_threads) == 1 else _current_task()
    )
    if hand is not None and hand.key == farm:
        lane = hand.lane
        for body in lane.walk:
            word = lane.word
            lane.words[hand.slot] = word
            lane.word = word + 2
            return body
        if timeout is None:
            return await runtime("farm_get_msg").take_next(hand)
    return await _get("farm_get_msg", farm, timeout)


async def _get(caller: str, key: LaneKey, timeout: float | None) -> bytes:  # noqa: ASYNC109  (uWSGI's)
    here = runtime(caller)
    global _only_loop  # noqa: PLW0603  (the loop of the only thread, if it is)
    _only_loop = _loops[get_ident()] = asyncio.get_running_loop()
    if timeout is None:
        return await here.get(key)
    async with asyncio.timeout(timeout):
        return await here.get(key)


async def signal_wait(signum: int | None = None) -> int:
    """Wait until the handler of signal *signum*, or of any signal, has run here.

    A signal that has no handler in this mule can be waited for as well: then it is
    this call that handles it, in every mule that makes it.

    Returns:
        The number of the signal.

    Raises:
        ValueError: The number is out of range.
        NotInMuleError: This process is not a mule.

    Cancelling is safe: the signal is handled all the same.
    """
    return await runtime("signal_wait").signals.wait(signum)


def receive(farm: str | None = None) -> AbstractAsyncContextManager[Message]:
    """Wait for a message and settle it at the end of the block.

    ``async with receive() as message`` acks when the block ends and nacks when it
    raises; ``raise Retry(delay)`` and ``raise Reject(reason)`` end the block and
    nothing else. Any number may be open at once, each with a message of its own.

    Args:
        farm: Take only what is for this farm; default everything for this mule.

    Raises:
        NotInMuleError: This process is not a mule.

    Cancelling is safe while it waits; in the block, the message is nacked.
    """
    return _receive(True if farm is None else farm)


@asynccontextmanager
async def _receive(key: LaneKey) -> AsyncIterator[Message]:
    message = await _take("receive", key)
    async with message:
        yield message


async def _take(caller: str, key: LaneKey) -> Message:
    here = runtime(caller)
    hand = await here.hands.new(key)
    try:
        with here.lock:
            here.link.measure(hand.lane)
        body = await here.take(hand)
    except BaseException:
        here.hands.done(hand)
        raise
    return Message(here.hands, hand, body)


async def messages(
    farm: str | None = None, *, concurrency: int = 1
) -> AsyncIterator[Message]:
    """Yield messages for ever.

    With a *concurrency* of 1, asking for the next message acks the last one, as
    everywhere. With more, up to that many are out at once and each must be settled,
    by ``async with message:`` in the task that handles it, or by ``ack``, ``nack``
    and ``reject``; the iterator waits while all are out. ``Retry`` and ``Reject`` are
    for such a block: out of the loop they end the task as any exception does, after
    they were obeyed.

    Args:
        farm: Take only what is for this farm; default everything for this mule.
        concurrency: Messages in hand at a time, from 1.

    Raises:
        NotInMuleError: This process is not a mule.
    """
    key = True if farm is None else farm
    if concurrency == 1:
        hands = runtime("messages").hands
        while True:
            # They have the short path.
            body = await (mule_get_msg() if farm is None else farm_get_msg(farm))
            yield Message(hands, hands.of_current_task(), body)
    out: list[Message] = []
    settled = asyncio.Event()
    while True:
        while len(out := [m for m in out if not m.is_settled]) >= concurrency:
            settled.clear()
            await settled.wait()
        message = await _take("messages", key)
        message.on_settled = settled.set
        out.append(message)
        yield message
