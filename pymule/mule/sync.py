"""What a blocking program in a mule calls to get messages, from any thread."""

from collections.abc import Iterator
from contextlib import contextmanager

from pymule.mule.link import LaneKey
from pymule.mule.message import Message
from pymule.mule.process import runtime

__all__ = ("farm_get_msg", "messages", "mule_get_msg", "receive", "signal_wait")


def mule_get_msg(
    *, signals: bool = True, farms: bool = True, timeout: float | None = None
) -> bytes:
    """Return the next message for this mule; block until there is one.

    The blocking twin of :func:`pymule.mule_get_msg`: asking acknowledges the last
    message of this thread.

    Args:
        signals: Run ``def`` handlers of signals in this thread while it waits.
        farms: Also take what is for the farms of this mule.
        timeout: Seconds to wait at most.

    Raises:
        TimeoutError: No message came within *timeout* seconds.
        NotInMuleError: This process is not a mule.
    """
    return runtime("mule_get_msg").get_blocking(farms, timeout, signals=signals)


def farm_get_msg(farm: str | None = None, *, timeout: float | None = None) -> bytes:
    """Return the next message for *farm*, or for any farm of this mule.

    Raises:
        TimeoutError: No message came within *timeout* seconds.
        ValueError: This mule is not in that farm, or in none.
        NotInMuleError: This process is not a mule.
    """
    return runtime("farm_get_msg").get_blocking(farm, timeout)


def signal_wait(signum: int | None = None, *, timeout: float | None = None) -> int:
    """Run handlers in this thread until that of *signum*, or any, has run.

    The blocking twin of :func:`pymule.signal_wait`.

    Raises:
        TimeoutError: That was not within *timeout* seconds.
        ValueError: The number is out of range.
        NotInMuleError: This process is not a mule.
    """
    return runtime("signal_wait").signals.wait_blocking(signum, timeout)


@contextmanager
def receive(
    farm: str | None = None, *, timeout: float | None = None
) -> Iterator[Message]:
    """Block for a message and settle it at the end of the ``with`` block.

    The blocking twin of :func:`pymule.receive`.

    Raises:
        TimeoutError: No message came within *timeout* seconds.
        NotInMuleError: This process is not a mule.
    """
    here = runtime("receive")
    key: LaneKey = True if farm is None else farm
    hand = here.hands.new_in_thread(key)
    try:
        with here.lock:
            here.link.measure(hand.lane)
        body = here.take_blocking(hand, timeout)
    except BaseException:
        here.hands.done(hand)
        raise
    with Message(here.hands, hand, body) as message:
        yield message


def messages(farm: str | None = None) -> Iterator[Message]:
    """Yield messages for ever; asking for the next one acks the last one.

    Raises:
        NotInMuleError: This process is not a mule.
    """
    here = runtime("messages")
    key: LaneKey = True if farm is None else farm
    while True:
        body = here.get_blocking(key, None)
        yield Message(here.hands, here.hands.of_current_thread(), body)
