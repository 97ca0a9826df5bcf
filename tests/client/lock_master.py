"""What the fake master says about locks, by the same table as the real one."""

import threading
import time
from collections.abc import Callable

from pymule.errors import RefusedError
from pymule.sansio.locks import Grant, LockTable, PeerId
from pymule.sansio.verbs import Call, JsonObject, Reply, ReplyKind
from tests.client.fake_master import FakeMaster, Peer

__all__ = ("LockMaster",)


class LockMaster:
    """Answers the calls that *master* gets; what it was asked is in ``calls``."""

    def __init__(self, master: FakeMaster) -> None:
        self.table = LockTable(100)
        self.calls: list[JsonObject] = []
        # Called with each grant in place of its sending, if it is set.
        self.on_grant: Callable[[Grant], object] = self.send
        self._peers: dict[PeerId, Peer] = {}
        self._lock = threading.RLock()
        master.on_call = self._answer

    def methods(self) -> list[object]:
        """Return the methods that were called so far."""
        return [call["method"] for call in self.calls]

    def take(self, name: str) -> int:
        """Hold the lock *name* for somebody else; return the token."""
        with self._lock:
            grant = self.table.acquire(name, PeerId(0), len(self.calls), None, 0.0)
        assert grant is not None
        return grant.token

    def give(self, name: str, token: int) -> None:
        """Release what was taken by :meth:`take`."""
        with self._lock:
            self._granted(self.table.release(name, PeerId(0), token, 0.0))

    def lose(self) -> None:
        """Take every lock away from every client, as the end of a ttl would."""
        with self._lock:
            self.table.peers_gone(list(self._peers), 0.0)

    def lose_all_but_last(self) -> None:
        """See the end of the connections before the last one."""
        with self._lock:
            self.table.peers_gone(list(self._peers)[:-1], 0.0)

    def send(self, grant: Grant) -> None:
        """Tell who has the lock."""
        peer = self._peers[grant.peer]
        peer.send(Reply(grant.call, ReplyKind.LAST, {"token": grant.token}))

    def _answer(self, peer: Peer, call: Call) -> None:
        with self._lock:
            self.calls.append(call.value)
            try:
                value = self._act(peer, call)
            except RefusedError as exc:
                error: JsonObject = {"code": exc.code, "detail": exc.to_detail()}
                peer.send(Reply(call.id, ReplyKind.ERROR, error))
                return
        if value is not None:
            peer.send(Reply(call.id, ReplyKind.LAST, value))

    def _act(self, peer: Peer, call: Call) -> JsonObject | None:
        number, value, now = PeerId(id(peer)), call.value, time.monotonic()
        self._peers[number] = peer
        name, wait = str(value.get("name")), bool(value.get("wait"))
        match value["method"]:
            case "lock":
                grant = self.table.acquire(name, number, call.id, None, now, wait=wait)
                self._granted(grant)
                return {"token": None} if grant is None and not wait else None
            case "unlock":
                token = value["token"]
                assert isinstance(token, int)
                self._granted(self.table.release(name, number, token, now))
                return {}
            case "lock_withdraw":
                of = value["call"]
                assert isinstance(of, int)
                self._granted(self.table.withdraw(number, of, now))
                return {}
            case _:
                return {"locked": self.table.is_locked(name)}

    def _granted(self, grant: Grant | None) -> None:
        if grant is not None:
            self.on_grant(grant)
