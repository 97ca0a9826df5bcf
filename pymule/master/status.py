"""What ``pymule status`` shows: how everything is, in parts that fit in a frame.

A thousand mules and ten thousand queues take longer to write down than a turn of the
loop should, and more room than a frame has. So an answer has as many rows as fit, and
tells where the next one begins; what comes or goes in between may be missed, or be
there twice.
"""

import os
import resource
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Final

from pymule.connection import Connection
from pymule.errors import BadCallError
from pymule.master.generation import Generation
from pymule.master.listener import Credentials
from pymule.master.roles import UserRole
from pymule.master.signals import send_error
from pymule.sansio.body import write_json
from pymule.sansio.queue import Queue
from pymule.sansio.verbs import Call, JsonObject, Reply, ReplyKind
from pymule.version import VERSION

if TYPE_CHECKING:
    from pymule.master.daemon import Master

__all__ = ("STATUS_SCHEMA", "Status")

STATUS_SCHEMA: Final = "pymule.status/1"
_HIDDEN: Final = "(for admins)"
# Of rows in one answer; 500 mules or so, which take 20 ms.
_MAX_ANSWER: Final = 256 * 1024
_PAGE_BYTES: Final = resource.getpagesize()
_MAX_START: Final = 1_000_000_000


class Status:
    """Answer the call ``status``.

    Args:
        master: Whom it is about.
    """

    def __init__(self, master: "Master") -> None:
        self._master = master
        # In their order in the answer.
        self._rows: Mapping[str, Callable[[int], Iterator[JsonObject]]] = {
            "mules": self._mules,
            "forkservers": self._forkservers,
            "queues": self._queues,
            "clients": master.clients.describe,
            "signals": lambda start: islice(master.signals.describe(), start, None),
            "locks": master.locks.describe,
        }

    def call(self, call: Call, who: Credentials, connection: Connection) -> bool:
        """Answer *call* of *who* if it is this one; tell whether it is."""
        if call.value.get("method") != "status":
            return False
        try:
            status = self.page(self._sections_of(call), _after_of(call, self._rows))
        except BadCallError as exc:
            send_error(call, exc, connection)
            return True
        if self._master.plan.access.role_of(who) is not UserRole.ADMIN:
            _hide_words(status)
        connection.send(Reply(call.id, ReplyKind.LAST, status))
        return True

    def page(
        self,
        sections: Sequence[str] | None = None,
        after: tuple[str, int] | None = None,
    ) -> JsonObject:
        """Return an answer to ``status``; the schema is in ``docs/operations.md``.

        Args:
            sections: Lists that are wanted; all by default.
            after: Where to begin: a list, and how many rows of it were told before.
        """
        status: JsonObject = {"schema": STATUS_SCHEMA}
        wanted = [name for name in self._rows if sections is None or name in sections]
        start = 0
        if after is None:
            status |= self._head()
        else:
            wanted = wanted[wanted.index(after[0]) :] if after[0] in wanted else []
            start = after[1]
        room = min(_MAX_ANSWER, self._master.plan.max_frame_bytes // 2)
        for name in wanted:
            rows: list[JsonObject] = []
            status[name] = rows
            for row in self._rows[name](start):
                room -= len(write_json(row))
                # One row at least, so that it goes on.
                if room < 0 and (rows or name != wanted[0]):
                    return status | {"next": [name, start + len(rows)]}
                rows.append(row)
            start = 0
        return status | {"next": None}

    def _sections_of(self, call: Call) -> list[str] | None:
        found = call.value.get("sections")
        if found is None:
            return None
        if not isinstance(found, list) or not set(map(str, found)) <= set(self._rows):
            raise BadCallError(f"sections; allowed: a list of {', '.join(self._rows)}")
        return [str(name) for name in found]

    def _head(self) -> JsonObject:
        master = self._master
        return {
            "version": VERSION,
            "pid": os.getpid(),
            "uptime_s": round(time.monotonic() - master.started_at, 3),
            "state": master.state,
            "socket": master.socket_path,
            "config_error": master.config_error,
            "rss_bytes": _rss_bytes(os.getpid()),
            "late_acks": master.router.late_count,
            "timers": len(list(master.signals.sources.timers)),
            "unrouted_ticks": master.signals.unrouted,
            "journal": master.outflow.describe(),
        }

    def _mules(self, start: int) -> Iterator[JsonObject]:
        generations = islice(self._master.generations(), start, None)
        return map(self._mule, generations)

    def _mule(self, generation: Generation) -> JsonObject:
        process = generation.current
        held = process.board.held() if process is not None else []
        link = self._master.link_of(generation)
        noted = [item.since_ns for item in held if item.since_ns is not None]
        oldest = min(noted, default=None)
        return {
            "id": generation.spec.id,
            "name": generation.spec.name,
            "pid": process.process.pid if process is not None else None,
            "mode": generation.spec.mode,
            "program": generation.spec.program,
            "start_method": self._master.mules.forkservers.start_method_of(generation),
            "farms": list(generation.spec.farms),
            "state": self._master.state_of(generation),
            "uptime_s": round(generation.uptime_s(), 3),
            "restarts": generation.life.restarts,
            "handled": generation.handled + (link.handled if link else 0),
            "in_hand": len(held),
            "in_hand_s": (
                None if oldest is None else round(time.monotonic() - oldest / 1e9, 3)
            ),
            "leased": link.leased if link else 0,
            "last_exit": generation.last_exit,
            "rss_bytes": _rss_bytes(process.process.pid) if process else 0,
        }

    def _forkservers(self, start: int) -> Iterator[JsonObject]:
        for row in islice(self._master.mules.forkservers.describe(), start, None):
            pid = row["pid"]
            yield {**row, "rss_bytes": _rss_bytes(pid) if isinstance(pid, int) else 0}

    def _queues(self, start: int) -> Iterator[JsonObject]:
        queues = self._master.router.queues.values()
        return map(_queue, islice(queues, start, None))


def _queue(queue: Queue) -> JsonObject:
    oldest = queue.oldest_at
    return {
        "target": queue.name,
        "ready": queue.ready_count,
        "leased": queue.leased,
        "delayed": queue.delayed_count,
        "waiting": sum(parked.count for parked in queue.waiting),
        "dead": len(queue.dead),
        "dead_dropped": queue.dead.dropped,
        "bytes": queue.bytes,
        "max_messages": queue.limits.max_messages,
        "max_bytes": queue.limits.max_bytes,
        "accepted": queue.accepted,
        "acked": queue.acked,
        "failed": queue.failed,
        "redelivered": queue.redelivered,
        "oldest_s": None if oldest is None else round(time.monotonic() - oldest, 3),
        "closed": queue.is_closed,
        "durability": queue.keeping.durability.value,
        "paused": queue.is_paused,
        "expired": queue.expired,
        "purged": queue.purged,
        "deduplicated": queue.deduplicated,
        "blocked": queue.blocked,
        "storing": queue.storing,
    }


def _after_of(call: Call, sections: Iterable[str]) -> tuple[str, int] | None:
    match call.value.get("after"):
        case None:
            return None
        case [str(name), int(start)] if name in sections and 0 <= start <= _MAX_START:
            return name, start
        case _:
            raise BadCallError("after; allowed: `next` of the answer before")


def _hide_words(status: JsonObject) -> None:
    """Take out what programs and the configuration say, which may be secret."""
    if status.get("config_error") is not None:
        status["config_error"] = _HIDDEN
    mules = status.get("mules")
    for mule in mules if isinstance(mules, list) else ():
        match mule["last_exit"]:
            case {"error": dict(error)} as last_exit:
                hidden = {"text": _HIDDEN, "traceback": _HIDDEN}
                error = {"type": error.get("type"), **hidden}
                mule["last_exit"] = {**last_exit, "error": error}
    forkservers = status.get("forkservers")
    for row in forkservers if isinstance(forkservers, list) else ():
        row["unfit"] = [_HIDDEN] if row["unfit"] else []


def _rss_bytes(pid: int) -> int:
    # Not by psutil, which reads three files for it: 0.1 s for 1,000 mules.
    try:
        fd = os.open(f"/proc/{pid}/statm", os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return 0
    try:
        return int(os.pread(fd, 100, 0).split()[1]) * _PAGE_BYTES
    except (OSError, IndexError):
        # It is being reaped.
        return 0
    finally:
        os.close(fd)
