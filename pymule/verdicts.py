"""What a program says by raising: what is to become of the message in its hand."""

from collections.abc import Iterator

__all__ = ("Reject", "Retry", "check_delay", "verdict_behind", "verdict_in")


class Retry(Exception):  # noqa: N818  (an order, not an error)
    """Give the message in hand back, to be tried again; it spends an attempt.

    Where ``receive()``, ``async with message:`` or a function that a mule runs ends
    with it, that is all that happens. Out of anything else it is an exception like any
    other, which ends a task or the program, after the message was given back.

    Args:
        delay: Seconds until the next attempt; default the queue's backoff.
        reason: Kept with the message if it becomes a dead letter.

    Raises:
        ValueError: The delay is below zero or not finite.
    """

    def __init__(self, delay: float | None = None, reason: str = "") -> None:
        check_delay(delay)
        when = "" if delay is None else f" in {delay:g} seconds"
        super().__init__(reason or f"try again{when}")
        self.delay = delay
        self.reason = reason


class Reject(Exception):  # noqa: N818  (as above)
    """Put the message in hand with the dead letters, whatever attempts it has left.

    See :class:`Retry` for where it may be raised.

    Args:
        reason: Kept with the dead letter.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def check_delay(delay: float | None) -> None:
    """Check that a message can be given back for so many seconds.

    Raises:
        ValueError: The delay is below zero or not finite.
    """
    if delay is not None and not 0 <= delay < float("inf"):
        raise ValueError(f"delay {delay} seconds; allowed: from 0, finite")


def verdict_in(error: BaseException | None) -> Retry | Reject | None:
    """Return the verdict that *error* is, be it a group of nothing but verdicts.

    Of several it is the first, but a rejection goes before.
    """
    if isinstance(error, Retry | Reject):
        return error
    if not isinstance(error, BaseExceptionGroup):
        return None
    verdicts = []
    for leaf in _leaves(error):
        if not isinstance(leaf, Retry | Reject):
            return None
        verdicts.append(leaf)
    return next((one for one in verdicts if isinstance(one, Reject)), verdicts[0])


def verdict_behind(error: BaseException | None) -> Retry | Reject | None:
    """Return the verdict that *error* is, or from which it was raised."""
    # An exception may be its own cause: ``raise error from error``.
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if (verdict := verdict_in(error)) is not None:
            return verdict
        seen.add(id(error))
        error = error.__cause__
    return None


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
