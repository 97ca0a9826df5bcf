"""What is left of a row: its changes, put one after another over its messages."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace

from pymule.sansio.record import Changed, Gone, Share, Stored

__all__ = ("shares_of",)


def shares_of(stored: Stored, changes: Sequence[Changed | Gone]) -> list[Share]:
    """Return what is left of *stored* after *changes*, in the order of the ids.

    Changes may be about messages that are gone already; those stay gone. Neighbours
    with the same history are one share.
    """
    shares = [Share(stored.first_id, stored.count, due_at=stored.due_at)]
    if not changes:
        return shares
    for change in changes:
        _put(shares, change)
    return _joined(shares)


def _put(shares: list[Share], change: Changed | Gone) -> None:
    first, end = change.first_id, change.first_id + change.count
    low = _cut(shares, first)
    high = _cut(shares, end)
    if isinstance(change, Gone):
        del shares[low:high]
        return
    for index in range(low, high):
        shares[index] = Share(
            shares[index].first_id,
            shares[index].count,
            change.attempts,
            change.crashes,
            change.due_at,
            change.errors,
        )


def _cut(shares: list[Share], at: int) -> int:
    """Let a share begin at id *at*; return the index of the first one from there."""
    index = bisect_right(shares, at, key=lambda share: share.first_id)
    if index and shares[index - 1].first_id == at:
        return index - 1
    if index and at < (end := shares[index - 1].first_id + shares[index - 1].count):
        left = shares[index - 1]
        left.count = at - left.first_id
        shares.insert(index, replace(left, first_id=at, count=end - at))
    return index


def _joined(shares: list[Share]) -> list[Share]:
    joined: list[Share] = []
    for share in shares:
        last = joined[-1] if joined else None
        if last is not None and _follows(last, share):
            last.count += share.count
        else:
            joined.append(share)
    return joined


def _follows(last: Share, share: Share) -> bool:
    return (
        last.first_id + last.count == share.first_id
        and (last.attempts, last.crashes) == (share.attempts, share.crashes)
        and (last.due_at, last.errors) == (share.due_at, share.errors)
    )
