"""What ``pymule status`` and its like ask the master."""

import logging
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import psutil

from pymule.connection import Connection
from pymule.errors import UnsupportedError
from pymule.master.generation import Generation
from pymule.master.listener import Credentials
from pymule.master.logs import LogSink, log
from pymule.master.queues import Queues
from pymule.master.roles import UserRole
from pymule.master.signals import send_error
from pymule.sansio.queue import Queue
from pymule.sansio.verbs import Call, JsonObject, Reply, ReplyKind
from pymule.version import VERSION

if TYPE_CHECKING:
    from pymule.master.daemon import Master

__all__ = ("STATUS_SCHEMA", "Control")

_LOGGER: Final = logging.getLogger("pymule.master")
STATUS_SCHEMA: Final = "pymule.status/1"
_TAIL_MAX: Final = 1000
# A follower of the log that does not read loses lines rather than the master memory.
_FOLLOWER_BYTES: Final = 1024 * 1024
_HIDDEN: Final = "(for admins)"


class Control:
    """Answer the calls of clients.

    Args:
        master: Whom they ask about.
        sink: Where the log goes, for ``logs``.
    """

    def __init__(self, master: "Master", sink: LogSink | None) -> None:
        self._master = master
        self._sink = sink
        self._queues = Queues(
            master.upkeep,
            master.router.queues,
            lambda: master.clients.is_draining,
            lambda: master.plan.max_frame_bytes,
        )
        self._followers: dict[Connection, _Follower] = {}
        self._methods: dict[
            str, Callable[[Call, Credentials], tuple[int, JsonObject]]
        ] = {
            "ping": lambda _call, _who: (ReplyKind.LAST, {"pid": os.getpid()}),
            "status": self._status,
            "stop": self._stop,
        }

    def call(
        self,
        call: Call,
        who: Credentials,
        connection: Connection,
    ) -> None:
        """Answer *call* of *who* on *connection*."""
        if self._queues.call(call, who, connection):
            return
        method = str(call.value.get("method"))
        if method == "logs":
            self._logs(call, connection)
            return
        if method == "reload":
            self._reload(call, who, connection)
            return
        answer = self._methods.get(method)
        if answer is None:
            send_error(call, UnsupportedError(f"the call {method!r}"), connection)
            return
        kind, value = answer(call, who)
        connection.send(Reply(call.id, kind, value))

    def connection_gone(self, connection: Connection) -> None:
        """A client left: it follows the log no more."""
        follower = self._followers.pop(connection, None)
        if follower is not None and self._sink is not None:
            self._sink.unsubscribe(follower)

    def _status(self, _call: Call, who: Credentials) -> tuple[int, JsonObject]:
        status = self.status()
        if self._master.plan.access.role_of(who) is not UserRole.ADMIN:
            _hide_words(status)
        return ReplyKind.LAST, status

    def _stop(self, call: Call, who: Credentials) -> tuple[int, JsonObject]:
        is_now = bool(call.value.get("now"))
        log(_LOGGER, logging.INFO, "stop asked", pid=who.pid, uid=who.uid, now=is_now)
        self._master.stop(at_once=is_now)
        return ReplyKind.LAST, {"pid": os.getpid()}

    def _reload(self, call: Call, who: Credentials, connection: Connection) -> None:
        log(_LOGGER, logging.INFO, "reload asked", pid=who.pid, uid=who.uid)

        def reloaded(problem: str | None) -> None:
            if not connection.is_closed:
                value: JsonObject = {"ok": not problem, "error": problem}
                connection.send(Reply(call.id, ReplyKind.LAST, value))

        self._master.reload(reloaded)

    def _logs(self, call: Call, connection: Connection) -> None:
        sink = self._sink
        lines = (
            sink.tail(min(_number(call.value.get("lines")), _TAIL_MAX)) if sink else []
        )
        is_following = bool(call.value.get("follow")) and sink is not None
        kind = ReplyKind.MORE if is_following else ReplyKind.LAST
        connection.send(Reply(call.id, kind, {"lines": lines}))
        if not is_following or sink is None:
            return
        self.connection_gone(connection)
        follower = self._followers[connection] = _Follower(call.id, connection)
        sink.subscribe(follower)

    def status(self) -> JsonObject:
        """Return the answer to ``status``; the schema is in ``docs/operations.md``."""
        master = self._master
        now = time.monotonic()
        return {
            "schema": STATUS_SCHEMA,
            "version": VERSION,
            "pid": os.getpid(),
            "uptime_s": round(now - master.started_at, 3),
            "state": master.state,
            "socket": master.socket_path,
            "config_error": master.config_error,
            "rss_bytes": _rss_bytes(os.getpid()),
            "late_acks": master.router.late_count,
            "mules": [self._mule(generation) for generation in master.generations()],
            "queues": [self._queue(q, now) for q in master.router.queues.values()],
            "clients": master.clients.describe(),
            "signals": master.signals.describe(),
            "timers": len(list(master.signals.sources.timers)),
            "unrouted_ticks": master.signals.unrouted,
            "locks": master.locks.describe(),
            "journal": master.outflow.describe(),
        }

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

    def _queue(self, queue: Queue, now: float) -> JsonObject:
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
            "oldest_s": None if oldest is None else round(now - oldest, 3),
            "closed": queue.is_closed,
            "durability": queue.keeping.durability.value,
            "paused": queue.is_paused,
            "expired": queue.expired,
            "purged": queue.purged,
            "deduplicated": queue.deduplicated,
            "blocked": queue.blocked,
            "storing": queue.storing,
        }


class _Follower:
    """One ``pymule logs -f``; loses lines, and counts them, while it does not read."""

    def __init__(self, number: int, connection: Connection) -> None:
        self._number = number
        self._connection = connection
        self._dropped = 0

    def __call__(self, line: str) -> None:
        if self._connection.is_closed:
            return
        if self._connection.unsent_bytes > _FOLLOWER_BYTES:
            self._dropped += 1
            return
        value: JsonObject = {"lines": [line], "dropped": self._dropped}
        self._dropped = 0
        self._connection.send(Reply(self._number, ReplyKind.MORE, value))


def _hide_words(status: JsonObject) -> None:
    """Take out what programs and the configuration say, which may be secret."""
    if status["config_error"] is not None:
        status["config_error"] = _HIDDEN
    mules = status["mules"]
    for mule in mules if isinstance(mules, list) else ():
        match mule["last_exit"]:
            case {"error": dict(error)} as last_exit:
                hidden = {"text": _HIDDEN, "traceback": _HIDDEN}
                error = {"type": error.get("type"), **hidden}
                mule["last_exit"] = {**last_exit, "error": error}


def _number(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _rss_bytes(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
