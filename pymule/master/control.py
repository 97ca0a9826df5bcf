"""What ``pymule status`` and its like ask the master."""

import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from pymule.connection import Connection
from pymule.errors import UnsupportedError
from pymule.master.listener import Credentials
from pymule.master.logs import LogSink, log
from pymule.master.queues import Queues
from pymule.master.signals import send_error
from pymule.master.status import Status
from pymule.sansio.verbs import Call, JsonObject, Reply, ReplyKind

if TYPE_CHECKING:
    from pymule.master.daemon import Master

__all__ = ("Control",)

_LOGGER: Final = logging.getLogger("pymule.master")
_TAIL_MAX: Final = 1000
# A follower of the log that does not read loses lines rather than the master memory.
_FOLLOWER_BYTES: Final = 1024 * 1024


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
        self._status = Status(master)
        self._followers: dict[Connection, _Follower] = {}
        self._methods: dict[
            str, Callable[[Call, Credentials], tuple[int, JsonObject]]
        ] = {
            "ping": lambda _call, _who: (ReplyKind.LAST, {"pid": os.getpid()}),
            "stop": self._stop,
        }

    def call(
        self,
        call: Call,
        who: Credentials,
        connection: Connection,
    ) -> None:
        """Answer *call* of *who* on *connection*."""
        if self._queues.call(call, who, connection) or self._status.call(
            call, who, connection
        ):
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


def _number(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0
