"""What the commands about queues and dead letters say to the daemon, page by page.

An answer has to fit in a frame, so the daemon gives parts, of lists and of bodies, and
tells where the next one begins.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from pymule.cli.table import Row, rows_of
from pymule.cli.whole import whole_status
from pymule.client.aio import Client
from pymule.errors import (
    PymuleError,
    RemoteProtocolError,
    UnknownTargetError,
    error_of_reply,
)
from pymule.sansio.excerpt import excerpt, excerpt_bytes
from pymule.sansio.target import Target
from pymule.sansio.verbs import JsonObject

__all__ = (
    "Filter",
    "Outcome",
    "all_letters",
    "ids_of",
    "letter_of",
    "peeked",
    "purge_all",
    "purge_letters",
    "replay_letters",
    "waiting_in",
)

# Asked for at once; the daemon gives as many as fit, and a part of a body.
_PAGE: Final = 1_000
_PART: Final = 65_536


@dataclass(frozen=True, slots=True)
class Filter:
    """Which dead letters are meant; ``None`` is any.

    Attributes:
        older_than_s: Seconds since they died, at least.
        newer_than_s: Seconds since they died, at most.
        limit: So many of them, the oldest of each queue first.
    """

    queue: str | None = None
    reason: str | None = None
    older_than_s: float | None = None
    newer_than_s: float | None = None
    limit: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether it leaves nothing out."""
        return self == Filter()

    @property
    def params(self) -> JsonObject:
        """What the daemon is asked for."""
        return {
            "queue": self.queue,
            "reason": self.reason,
            "older_than_s": self.older_than_s,
            "newer_than_s": self.newer_than_s,
        }


@dataclass(slots=True)
class Outcome:
    """What became of dead letters that a command named.

    Attributes:
        done: The ids of those with which it was done.
        unknown: The ids of which there is no letter.
        error: Why those after *done* were left as they are.
    """

    done: list[int] = field(default_factory=list)
    unknown: list[int] = field(default_factory=list)
    error: PymuleError | None = None


async def purge_all(client: Client, queue: str, expected: int) -> int:
    """Drop what waits in *queue*, in as many calls as that takes; return how many.

    What comes in the meantime stays, once as many as *expected* are gone.
    """
    purged, is_more = 0, True
    while is_more and purged <= expected:
        answer = await client.call("purge", queue=queue)
        count = answer.get("purged")
        purged += count if isinstance(count, int) else 0
        is_more = bool(answer.get("more"))
    return purged


async def waiting_in(client: Client, queue: str) -> int:
    """Return how many messages of *queue* no mule has.

    Raises:
        UnknownTargetError: There is no such queue.
    """
    rows = rows_of(await whole_status(client, "queues"), "queues")
    name = _queue_name(queue)
    for row in rows:
        if row.get("target") == name:
            counts = (row.get(key) for key in ("ready", "delayed", "blocked"))
            return sum(count for count in counts if isinstance(count, int))
    raise UnknownTargetError(queue, (str(row.get("target")) for row in rows))


def _queue_name(text: str) -> str:
    """Return the name of the queue that *text* means: ``farm:busy`` for farm_busy."""
    try:
        return str(Target.for_message(text))
    except ValueError:
        return text


async def peeked(
    client: Client, queue: str, limit: int, *, is_full: bool
) -> list[JsonObject]:
    """Return the next *limit* messages of *queue*; *is_full*: with their whole bodies.

    One that moves on while its body is read stays cut.
    """
    found: list[JsonObject] = []
    skip: object = 0
    while len(found) < limit and isinstance(skip, int):
        asked: JsonObject = {"queue": queue, "skip": skip}
        if is_full:
            asked["body_bytes"] = _PART
        count = min(limit - len(found), _PAGE)
        answer = await client.call("peek", **asked, limit=count)
        rows = rows_of(answer, "messages")
        for place, row in enumerate(rows, skip):
            found.append(
                await _whole(row, _rest_of_message(client, queue, place, row["id"]))
                if is_full
                else dict(row)
            )
        skip = answer.get("next_skip") if rows else None
    return found


async def all_letters(
    client: Client, wanted: Filter, *, is_full: bool = False
) -> AsyncIterator[JsonObject]:
    """Yield the dead letters that are *wanted*; *is_full*: with all there is."""
    left, after = wanted.limit, None
    while left is None or left > 0:
        answer = await client.call(
            "dead",
            **wanted.params,
            limit=_PAGE if left is None else min(left, _PAGE),
            after=after,
            full=is_full,
        )
        rows = rows_of(answer, "letters")
        for row in rows:
            yield (
                await _whole(row, _rest_of_letter(client, row)) if is_full else {**row}
            )
        if left is not None:
            left -= len(rows)
        after = answer.get("next")
        if after is None:
            return


async def ids_of(client: Client, wanted: Filter) -> list[int]:
    """Return the ids of the dead letters that are *wanted*."""
    return [
        number
        async for row in all_letters(client, wanted)
        if isinstance(number := row.get("id"), int)
    ]


async def letter_of(client: Client, number: int) -> JsonObject:
    """Return all there is of one dead letter.

    Raises:
        BadCallError: There is none.
    """
    row = await client.call("dead_show", id=number)
    return await _whole(row, _rest_of_letter(client, row))


async def replay_letters(
    client: Client, numbers: Sequence[int], target: str | None
) -> Outcome:
    """Put dead letters in their queues again, or in that of *target*."""
    return await _in_pages(
        numbers, lambda page: client.call("dead_replay", ids=page, target=target)
    )


async def purge_letters(client: Client, numbers: Sequence[int]) -> Outcome:
    """Forget dead letters for good."""
    return await _in_pages(numbers, lambda page: client.call("dead_purge", ids=page))


async def _in_pages(
    numbers: Sequence[int], ask: Callable[[Sequence[int]], Awaitable[JsonObject]]
) -> Outcome:
    outcome = Outcome()
    for start in range(0, len(numbers), _PAGE):
        answer = await ask(list(numbers[start : start + _PAGE]))
        outcome.done += _integers(answer, "done")
        outcome.unknown += _integers(answer, "unknown")
        refused = answer.get("refused")
        if isinstance(refused, dict):
            outcome.error = error_of_reply(refused)
            break
    return outcome


def _integers(answer: Row, key: str) -> list[int]:
    values = answer.get(key)
    if not isinstance(values, list):
        return []
    return [value for value in values if isinstance(value, int)]


_Rest = Callable[[int], Awaitable[Row | None]]
"""Gives the part of a body that begins at an offset, or ``None`` if it is gone."""


def _rest_of_message(client: Client, queue: str, place: int, number: object) -> _Rest:
    async def rest(offset: int) -> Row | None:
        asked: JsonObject = {"queue": queue, "skip": place, "limit": 1}
        answer = await client.call(
            "peek", **asked, body_offset=offset, body_bytes=_PART
        )
        rows = rows_of(answer, "messages")
        return rows[0] if rows and rows[0].get("id") == number else None

    return rest


def _rest_of_letter(client: Client, row: Row) -> _Rest:
    async def rest(offset: int) -> Row | None:
        return await client.call("dead_show", id=row.get("id"), body_offset=offset)

    return rest


async def _whole(row: Row, rest: _Rest) -> JsonObject:
    """Return *row* with the whole body, if that can be had."""
    body = bytearray(excerpt_bytes(row))
    part: Row | None = row
    while part is not None and part.get("truncated"):
        part = await rest(len(body))
        if part is None:
            return {**row}
        more = excerpt_bytes(part)
        if not more:
            raise RemoteProtocolError(f"no more of a body after {len(body)} bytes")
        body += more
    others = {key: value for key, value in row.items() if key not in _OF_EXCERPT}
    return {**others, **excerpt(bytes(body))}


_OF_EXCERPT: Final = frozenset(
    {"body", "body_base64", "body_bytes", "body_offset", "truncated"}
)
