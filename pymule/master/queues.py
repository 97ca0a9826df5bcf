"""What people ask the master about queues and dead letters, and tell it to do.

Each answer has to fit in a frame, whatever is in the queues, and each call ends soon:
lists and bodies come in parts, and the answer tells where the next one begins.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Final

from pymule.connection import Connection
from pymule.errors import (
    BadCallError,
    DrainingError,
    RefusedError,
    UnknownTargetError,
)
from pymule.master.listener import Credentials
from pymule.master.logs import log
from pymule.master.queue_params import (
    MAX_LIMIT,
    after_of,
    ids_of,
    number_of,
    wanted_of,
)
from pymule.master.queue_rows import (
    MAX_EXCERPT,
    fitting,
    full_letter_row,
    letter_row,
    message_row,
)
from pymule.master.signals import send_error
from pymule.sansio.body import write_json
from pymule.sansio.delivery import DeadLetter
from pymule.sansio.queue import Queue
from pymule.sansio.target import MessageId, Target
from pymule.sansio.upkeep import Upkeep
from pymule.sansio.verbs import Call, JsonObject, Reply, ReplyKind

__all__ = ("Queues",)

_LOGGER: Final = logging.getLogger("pymule.master")

_PEEK_BYTES: Final = 200
_PEEK_LIMIT: Final = 10
# Longer than that of any queue.
_MAX_NAME: Final = 1_000
_MAX_SKIP: Final = 1_000_000
# An answer is far smaller than the largest frame, so that nobody waits long for it.
_MAX_ANSWER: Final = 256 * 1024
# Dead letters that one call looks at, most of which a filter may leave out.
_MAX_LOOKS: Final = 10_000
# Batches that one call drops.
_MAX_PURGED: Final = 10_000


class Queues:
    """Answers the calls about queues.

    Args:
        upkeep: Knows and does what is asked.
        queues: Those there are, by name.
        is_draining: Whether the master stops, and takes nothing new.
        max_frame_bytes: Returns what fits in a frame.
    """

    def __init__(
        self,
        upkeep: Upkeep,
        queues: Mapping[str, Queue],
        is_draining: Callable[[], bool],
        max_frame_bytes: Callable[[], int],
    ) -> None:
        self._upkeep = upkeep
        self._queues = queues
        self._is_draining = is_draining
        self._max_frame_bytes = max_frame_bytes
        self._methods: dict[str, Callable[[Call, Credentials], JsonObject]] = {
            "peek": self._peek,
            "purge": self._purge,
            "pause": self._pause,
            "resume": self._resume,
            "dead": self._dead,
            "dead_show": self._dead_show,
            "dead_replay": self._dead_replay,
            "dead_purge": self._dead_purge,
        }

    def call(self, call: Call, who: Credentials, connection: Connection) -> bool:
        """Answer *call* of *who* if it is about queues; tell whether it is."""
        if str(call.value.get("method")) not in self._methods:
            return False
        try:
            value = self.answer(call, who)
        except RefusedError as exc:
            send_error(call, exc, connection)
        else:
            connection.send(Reply(call.id, ReplyKind.LAST, value))
        return True

    def answer(self, call: Call, who: Credentials) -> JsonObject:
        """Return the answer to *call*, which is about queues.

        Raises:
            RefusedError: It cannot be done.
        """
        return self._methods[str(call.value["method"])](call, who)

    # Queues

    def _peek(self, call: Call, _who: Credentials) -> JsonObject:
        name = self._queue_name(call)
        limit = number_of(call, "limit", 1, MAX_LIMIT, _PEEK_LIMIT)
        skip = number_of(call, "skip", 0, _MAX_SKIP, 0)
        offset = number_of(call, "body_offset", 0, None, 0)
        part = number_of(call, "body_bytes", 0, None, _PEEK_BYTES)
        clock = _clock()
        answer = _Answer(self._room)
        for message in self._upkeep.peek(name, limit, skip):
            make = partial(message_row, message, clock, offset)
            row = fitting(make, min(part, MAX_EXCERPT), self._room)
            if not answer.add(row):
                break
        # There may be none left then, which the next call tells.
        is_last = len(answer.rows) < limit and not answer.is_full
        next_skip = None if is_last else skip + len(answer.rows)
        return {"queue": name, "messages": answer.rows, "next_skip": next_skip}

    def _purge(self, call: Call, who: Credentials) -> JsonObject:
        name = self._queue_name(call)
        count = self._upkeep.purge(name, _MAX_PURGED)
        is_more = next(self._upkeep.peek(name, 1), None) is not None
        log(
            _LOGGER,
            logging.INFO,
            "queue purged",
            target=name,
            count=count,
            pid=who.pid,
            uid=who.uid,
        )
        return {"queue": name, "purged": count, "more": is_more}

    def _pause(self, call: Call, who: Credentials) -> JsonObject:
        name = self._queue_name(call)
        if self._upkeep.pause(name):
            log(
                _LOGGER,
                logging.INFO,
                "queue paused",
                target=name,
                pid=who.pid,
                uid=who.uid,
            )
        return {"queue": name, "paused": True}

    def _resume(self, call: Call, who: Credentials) -> JsonObject:
        name = self._queue_name(call)
        if self._upkeep.resume(name):
            log(
                _LOGGER,
                logging.INFO,
                "queue resumed",
                target=name,
                pid=who.pid,
                uid=who.uid,
            )
        return {"queue": name, "paused": False}

    # Dead letters

    def _dead(self, call: Call, _who: Credentials) -> JsonObject:
        queue = None
        if call.value.get("queue") is not None:
            queue = self._queue_name(call)
        wanted = wanted_of(call, queue, time.monotonic())
        limit = number_of(call, "limit", 1, MAX_LIMIT, MAX_LIMIT)
        is_full = bool(call.value.get("full"))
        clock = _clock()
        answer = _Answer(self._room)
        last: DeadLetter | None = None
        for looks, letter in enumerate(self._letters(wanted.queue, after_of(call))):
            if len(answer.rows) == limit or looks == _MAX_LOOKS:
                return {"letters": answer.rows, "next": _cursor(last)}
            if wanted.has(letter):
                row = (
                    self._full(letter, clock, 0)
                    if is_full
                    else letter_row(letter, clock)
                )
                if not answer.add(row):
                    return {"letters": answer.rows, "next": _cursor(last)}
            last = letter
        return {"letters": answer.rows, "next": None}

    def _dead_show(self, call: Call, _who: Credentials) -> JsonObject:
        number = number_of(call, "id", 1, None)
        letter = self._upkeep.find_dead(MessageId(number))
        if letter is None:
            raise BadCallError(f"no dead letter {number}")
        return self._full(letter, _clock(), number_of(call, "body_offset", 0, None, 0))

    def _full(self, letter: DeadLetter, clock: float, offset: int) -> JsonObject:
        make = partial(full_letter_row, letter, clock, offset)
        return fitting(make, MAX_EXCERPT, self._room)

    def _dead_replay(self, call: Call, who: Credentials) -> JsonObject:
        numbers = ids_of(call)
        target = None
        if call.value.get("target") is not None:
            target = self._queue_name(call, "target")
        if self._is_draining():
            raise DrainingError
        done, unknown = [], []
        refused: JsonObject | None = None
        for number in numbers:
            letter = self._upkeep.find_dead(MessageId(number))
            if letter is None:
                unknown.append(number)
                continue
            try:
                self._upkeep.replay(letter, target, time.monotonic())
            except RefusedError as exc:
                refused = {"id": number, "code": exc.code, "detail": exc.to_detail()}
                break
            done.append(number)
        if done:
            log(
                _LOGGER,
                logging.INFO,
                "dead letters replayed",
                count=len(done),
                first=done[0],
                to=target,
                pid=who.pid,
                uid=who.uid,
            )
        return {"done": done, "unknown": unknown, "refused": refused}

    def _dead_purge(self, call: Call, who: Credentials) -> JsonObject:
        numbers = ids_of(call)
        found = {
            number: self._upkeep.find_dead(MessageId(number)) for number in numbers
        }
        letters = [letter for letter in found.values() if letter is not None]
        if letters:
            self._upkeep.purge_dead(letters)
            log(
                _LOGGER,
                logging.INFO,
                "dead letters purged",
                count=len(letters),
                first=letters[0].id,
                pid=who.pid,
                uid=who.uid,
            )
        unknown = [number for number, letter in found.items() if letter is None]
        return {"done": [letter.id for letter in letters], "unknown": unknown}

    def _letters(
        self, queue: str | None, after: "tuple[str, float, int] | None"
    ) -> Iterator[DeadLetter]:
        """Iterate over dead letters by queue and age, from *after* on."""
        names = sorted(self._queues) if queue is None else [queue]
        for name in names:
            if after is not None and name < after[0]:
                continue
            found = self._upkeep.dead_letters(name)
            # Those of a journal may be out of order, if the clock was set back.
            for letter in sorted(found, key=_age_order):
                if after is None or (name, *_age_order(letter)) > after:
                    yield letter

    @property
    def _room(self) -> int:
        return min(_MAX_ANSWER, self._max_frame_bytes() // 2)

    def _queue_name(self, call: Call, key: str = "queue") -> str:
        """Return the queue that *call* names: ``farm:busy`` for farm_busy, too."""
        text = call.value.get(key)
        if not isinstance(text, str) or len(text) > _MAX_NAME:
            raise BadCallError(f"{key}; allowed: the name of a queue")
        if text in self._queues:
            return text
        try:
            name = str(Target.for_message(text))
        except ValueError:
            name = text
        if name not in self._queues:
            raise UnknownTargetError(text, self._queues)
        return name


class _Answer:
    """The rows of one answer, as many as fit.

    Args:
        room: Bytes of JSON for them.
    """

    def __init__(self, room: int) -> None:
        self.rows: list[JsonObject] = []
        self.is_full = False
        self._room = room

    def add(self, row: JsonObject) -> bool:
        """Take *row*, unless there is no room for it any more."""
        size = len(write_json(row))
        if self.rows and size > self._room:
            self.is_full = True
            return False
        self.rows.append(row)
        self._room -= size
        return True


def _age_order(letter: DeadLetter) -> tuple[float, int]:
    return letter.died_at, letter.id


def _cursor(letter: DeadLetter | None) -> list[object] | None:
    return None if letter is None else [letter.queue, letter.died_at, letter.id]


def _clock() -> float:
    """Return what to add to monotonic seconds to have those of the Unix epoch."""
    return time.time() - time.monotonic()
