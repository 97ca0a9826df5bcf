"""What senders and mules noted of a run, and what it proves.

A message is known by its sender and a counter, so that a loss can be placed in the
order in which it was sent. What is checked, all from the outside:

lost
    Confirmed, and no program ever finished it: at the beginning of its sender's
    messages (prefix: something started over), amid those that were finished (middle: a
    hole) or after them (tail: cut off).
duplicated
    Taken again for no reason. Reasons are: its mule died with it in hand, it was given
    back, or the master died, unless it had been finished for long.
reordered
    In a queue that one mule serves, taken after a younger one though neither was ever
    tried before.
unexpected
    Never sent, or not with these bytes, or not to this queue.
early
    Delayed, and taken before its time.
overtaken
    Taken before an earlier message with the same key was finished.
revived
    Taken although it was refused.

Times are nanoseconds of CLOCK_MONOTONIC, which all processes of a machine share.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from itertools import pairwise
from typing import Final

__all__ = (
    "BREACHES",
    "Attempt",
    "Confirm",
    "Entry",
    "History",
    "Kind",
    "Losses",
    "Refuse",
    "Report",
    "Settle",
    "Take",
    "check",
)

# From the end of the work on a message until it is told and written, at the very most.
_LONG_NS: Final = 3 * 10**9

# What clocks may differ by: a delay is kept on the wall clock over a restart.
_SLACK_NS: Final = 20 * 10**6

BREACHES: Final = (
    "lost",
    "duplicated",
    "reordered",
    "unexpected",
    "early",
    "overtaken",
    "revived",
)
"""The words for what must not be."""

Key = tuple[str, int]
"""A message: its sender and its counter."""


class Kind(StrEnum):
    """What the sender asks for."""

    PLAIN = "plain"
    # With a message_id: sent again, it is one message all the same.
    NAMED = "named"
    DELAYED = "delayed"
    # With a key, one for each sender and queue.
    KEYED = "keyed"


@dataclass(frozen=True, slots=True)
class Attempt:
    """A sender is about to send *count* messages.

    Attributes:
        delay_ns: Before which nobody is to take them, from now.
        pid: Process of the sender.
    """

    sender: str
    first: int
    count: int
    queue: str
    kind: Kind
    delay_ns: int
    pid: int
    at: int


@dataclass(frozen=True, slots=True)
class Confirm:
    """The call that sent them returned."""

    sender: str
    first: int
    count: int
    at: int


@dataclass(frozen=True, slots=True)
class Refuse:
    """The call raised that the master said no to each of them."""

    sender: str
    first: int
    count: int
    error: str
    at: int


@dataclass(frozen=True, slots=True)
class Take:
    """A program was given a message, of which it has done nothing yet.

    Attributes:
        id: The master's number of the message.
        attempt: What the master says of it.
        pid: Process of the mule.
        hand: Which task or thread of the program.
        is_intact: Whether the body is what some sender made.
    """

    sender: str
    counter: int
    queue: str
    id: int
    attempt: int
    pid: int
    hand: int
    is_intact: bool
    at: int


@dataclass(frozen=True, slots=True)
class Settle:
    """A program is done with a message, or is about to give it back."""

    id: int
    attempt: int
    pid: int
    is_done: bool
    at: int


Entry = Attempt | Confirm | Refuse | Take | Settle


@dataclass(slots=True)
class History:
    """All that was seen of one run.

    Attributes:
        entries: In the order of each process; between processes, in any.
        dead_pids: Mules that ended otherwise than asked to, but for those that died
            with their master.
        master_deaths: When.
        power_cuts: From when until nobody was there any more. What is confirmed
            meanwhile is in doubt: really, nobody would have been there to be told.
        ordered: Queues that one program serves, one message after the other.
        overlapping_pids: Mules that were started while another served their queue, as
            in a reload: what that one gives back comes to them later.
    """

    entries: Iterable[Entry] = ()
    dead_pids: frozenset[int] = frozenset()
    master_deaths: tuple[int, ...] = ()
    power_cuts: tuple[tuple[int, int], ...] = ()
    ordered: frozenset[str] = frozenset()
    overlapping_pids: frozenset[int] = frozenset()


@dataclass(slots=True)
class Losses:
    """Confirmed messages that nobody finished, by where they are."""

    prefix: list[Key] = field(default_factory=list)
    middle: list[Key] = field(default_factory=list)
    tail: list[Key] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.prefix) + len(self.middle) + len(self.tail)


@dataclass(slots=True)
class Report:
    """What a history comes to.

    Attributes:
        indeterminate: Sent, with no word of what became of them.
        delivered: Messages that a program took, at least once.
        finished: Messages that a program finished.
        redelivered: Takes after the first one, each with a reason.
    """

    attempted: int = 0
    confirmed: int = 0
    refused: int = 0
    indeterminate: int = 0
    delivered: int = 0
    finished: int = 0
    redelivered: int = 0
    lost: Losses = field(default_factory=Losses)
    duplicated: list[Key] = field(default_factory=list)
    reordered: list[Key] = field(default_factory=list)
    unexpected: list[Key] = field(default_factory=list)
    early: list[Key] = field(default_factory=list)
    overtaken: list[Key] = field(default_factory=list)
    revived: list[Key] = field(default_factory=list)

    @property
    def breaches(self) -> dict[str, int]:
        """What must not be, and how often it is; empty if all is well."""
        return {word: n for word in BREACHES if (n := len(getattr(self, word)))}

    def describe(self) -> dict[str, object]:
        """Return all of it for JSON, with a few examples of each fault."""
        told = asdict(self)
        told["lost"] = {place: _few(keys) for place, keys in told["lost"].items()}
        for word in BREACHES[1:]:
            told[word] = _few(told[word])
        return {**told, "breaches": self.breaches}


@dataclass(slots=True)
class _Message:
    queue: str
    kind: Kind
    pid: int
    attempted_at: int
    due_at: int
    is_confirmed: bool = False
    is_refused: bool = False
    # When somebody first finished it, or 0.
    finished_at: int = 0
    takes: list[Take] = field(default_factory=list)


class _Reasons:
    """What explains that a message is taken again."""

    def __init__(self, history: History, entries: list[Entry]) -> None:
        self._dead_pids = history.dead_pids
        self._cuts = [at for cut in history.power_cuts for at in cut]
        self._deaths = (*history.master_deaths, *self._cuts)
        self._returned = {
            (e.id, e.attempt, e.pid)
            for e in entries
            if isinstance(e, Settle) and not e.is_done
        }
        self._done_at = {
            (e.id, e.attempt, e.pid): e.at
            for e in entries
            if isinstance(e, Settle) and e.is_done
        }
        # What each hand took last may have been in it at the death of its process.
        self._last: dict[tuple[int, int], Take] = {}
        for entry in entries:
            if isinstance(entry, Take):
                self._last[entry.pid, entry.hand] = entry

    def explain_copy(self, message: _Message, copy: Take) -> bool:
        """Whether a message may be queued twice: its sender asked a new master."""
        return message.kind is not Kind.NAMED and any(
            message.attempted_at <= at <= copy.at for at in self._deaths
        )

    def explain_retry(self, message: _Message, one: Take, after: Take) -> bool:
        """Whether *after* may follow *one*, both of the same message."""
        since, until = message.attempted_at, max(one.at, after.at)
        if one.attempt == after.attempt:
            # That the attempt began may be forgotten, but only so.
            return any(since <= at <= until for at in self._cuts)
        attempt = one.id, one.attempt, one.pid
        if attempt in self._returned:
            return True
        if one.pid in self._dead_pids and self._last[one.pid, one.hand] is one:
            return True
        until = min(until, self._done_at.get(attempt, until) + _LONG_NS)
        return any(since <= at <= until for at in self._deaths)


def check(history: History) -> Report:
    """Return what the entries of *history* prove."""
    entries = list(history.entries)
    messages = _attempted(entries)
    report = Report(attempted=len(messages))
    _answered(entries, messages, history.power_cuts)
    report.unexpected = _take(entries, messages)
    reasons = _Reasons(history, entries)
    for key, message in messages.items():
        report.confirmed += message.is_confirmed
        report.refused += message.is_refused
        report.indeterminate += not (message.is_confirmed or message.is_refused)
        report.delivered += bool(message.takes)
        report.finished += bool(message.finished_at)
        if message.is_refused and message.takes:
            report.revived.append(key)
        again, unexplained = _taken_again(message, reasons)
        report.redelivered += again - unexplained
        if unexplained:
            report.duplicated.append(key)
        if any(take.at + _SLACK_NS < message.due_at for take in message.takes):
            report.early.append(key)
    report.lost = _lost(messages)
    report.overtaken = _overtaken(messages)
    report.reordered = _reordered(messages, history)
    return report


def _attempted(entries: Iterable[Entry]) -> dict[Key, _Message]:
    return {
        (entry.sender, counter): _Message(
            entry.queue, entry.kind, entry.pid, entry.at, entry.at + entry.delay_ns
        )
        for entry in entries
        if isinstance(entry, Attempt)
        for counter in range(entry.first, entry.first + entry.count)
    }


def _answered(
    entries: Iterable[Entry],
    messages: dict[Key, _Message],
    power_cuts: tuple[tuple[int, int], ...],
) -> None:
    for entry in entries:
        if isinstance(entry, Confirm | Refuse):
            for counter in range(entry.first, entry.first + entry.count):
                message = messages[entry.sender, counter]
                if isinstance(entry, Confirm):
                    message.is_confirmed = not any(
                        _is_doubtful(entry, message, since, until)
                        for since, until in power_cuts
                    )
                else:
                    message.is_refused = True


def _is_doubtful(confirm: Confirm, message: _Message, since: int, until: int) -> bool:
    # Of a batch that was sent before, any part may have been confirmed meanwhile.
    is_spanning = confirm.count > 1 and message.attempted_at <= until
    return (
        since < until and since <= confirm.at and (confirm.at <= until or is_spanning)
    )


def _take(entries: Iterable[Entry], messages: dict[Key, _Message]) -> list[Key]:
    """Note in *messages* who took and finished them; return takes of no message."""
    key_of: dict[int, Key] = {}
    unexpected: list[Key] = []
    for entry in entries:
        if isinstance(entry, Take):
            key = entry.sender, entry.counter
            message = messages.get(key)
            is_known = message is not None and message.queue == entry.queue
            # An id means one message for ever.
            is_known = is_known and key_of.setdefault(entry.id, key) == key
            if message is None or not is_known or not entry.is_intact:
                unexpected.append(key)
            else:
                message.takes.append(entry)
    for entry in entries:
        if isinstance(entry, Settle) and entry.is_done and entry.id in key_of:
            message = messages[key_of[entry.id]]
            message.finished_at = min(message.finished_at or entry.at, entry.at)
    return unexpected


def _taken_again(message: _Message, reasons: _Reasons) -> tuple[int, int]:
    """Return how often it was taken after the first time, and how often for nothing."""
    by_id: dict[int, list[Take]] = defaultdict(list)
    for take in sorted(message.takes, key=lambda take: take.at):
        by_id[take.id].append(take)
    unexplained = 0
    for takes in list(by_id.values())[1:]:
        unexplained += not reasons.explain_copy(message, takes[0])
    for takes in by_id.values():
        # Who lost its master may take what was delivered to it after the next one
        # delivered it, so the times do not tell the order.
        takes.sort(key=lambda take: take.attempt)
        for one, after in pairwise(takes):
            unexplained += not reasons.explain_retry(message, one, after)
    return max(0, len(message.takes) - 1), unexplained


def _lost(messages: dict[Key, _Message]) -> Losses:
    losses = Losses()
    finished: dict[str, list[int]] = defaultdict(list)
    for (sender, counter), message in messages.items():
        if message.finished_at:
            finished[sender].append(counter)
    span = {sender: (min(found), max(found)) for sender, found in finished.items()}
    for (sender, counter), message in messages.items():
        if message.finished_at or not message.is_confirmed:
            continue
        first, last = span.get(sender, (counter, counter))
        place = losses.middle
        if counter < first or sender not in span:
            place = losses.prefix
        elif counter > last:
            place = losses.tail
        place.append((sender, counter))
    return losses


def _overtaken(messages: dict[Key, _Message]) -> list[Key]:
    found: list[Key] = []
    keyed: dict[tuple[str, str], list[int]] = defaultdict(list)
    for (sender, counter), message in messages.items():
        if message.kind is Kind.KEYED:
            keyed[sender, message.queue].append(counter)
    for (sender, _), counters in keyed.items():
        for before, after in pairwise(sorted(counters)):
            one, other = messages[sender, before], messages[sender, after]
            # Of one that was not confirmed nobody knows when it came, if it did.
            if one.is_confirmed and any(
                take.at < (one.finished_at or take.at + 1) for take in other.takes
            ):
                found.append((sender, after))
    return found


def _reordered(messages: dict[Key, _Message], history: History) -> list[Key]:
    found: list[Key] = []
    # By mule process, queue and sending process: what is sent over another connection
    # has no order.
    highest: dict[tuple[int, str, str, int], int] = {}
    for take in _first_takes(messages.values(), history.ordered):
        if take.pid in history.overlapping_pids:
            continue
        message = messages[take.sender, take.counter]
        stream = (take.pid, take.queue, take.sender, message.pid)
        if take.counter < highest.get(stream, 0):
            found.append((take.sender, take.counter))
        highest[stream] = max(take.counter, highest.get(stream, 0))
    return found


def _first_takes(messages: Iterable[_Message], ordered: frozenset[str]) -> list[Take]:
    """Return the takes of what was never tried before, in the order of their times."""

    def first_ones() -> Iterator[Take]:
        for message in messages:
            if (
                message.takes
                and message.queue in ordered
                and message.kind in (Kind.PLAIN, Kind.NAMED)
            ):
                first = min(message.takes, key=lambda take: take.at)
                if first.attempt == 1:
                    yield first

    return sorted(first_ones(), key=lambda take: take.at)


def _few(keys: list[Key]) -> dict[str, object]:
    return {"count": len(keys), "first": [f"{name}:{n}" for name, n in keys[:10]]}
