"""The locks of the master's clients: calls in, grants and ends of time out."""

import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

from pymule.errors import BadCallError, RefusedError
from pymule.master.clients import ClientPeer, Clients
from pymule.master.ticker import Deadline, Ticker
from pymule.sansio.lock_words import check_lock_name, check_ttl
from pymule.sansio.locks import Grant, LockTable, PeerId
from pymule.sansio.verbs import Call, JsonObject, Reply, ReplyKind

__all__ = ("LOCK_DEADLINE", "Locks")

LOCK_DEADLINE: Final = "lock"
"""Kind of the deadlines at which a lock is taken from its holder, by its token."""

# Tokens of one master: 2**20 for each millisecond that it lives.
_TOKEN_SHIFT: Final = 20


class Locks:
    """Who holds what, and who is told.

    Args:
        clients: Who may ask.
        ticker: Has the deadlines.
    """

    def __init__(self, clients: Clients, ticker: Ticker[Deadline]) -> None:
        self._clients = clients
        self._ticker = ticker
        # The wall clock, because tokens must grow from one master to the next.
        self._table = LockTable(int(time.time() * 1000) << _TOKEN_SHIFT)
        self._methods: dict[
            str, Callable[[ClientPeer, Call, float], JsonObject | None]
        ] = {
            "lock": self._lock,
            "unlock": self._unlock,
            "lock_withdraw": self._withdraw,
            "is_locked": self._is_locked,
        }

    def call(self, peer: ClientPeer, call: Call) -> bool:
        """Answer *call* if it is about locks, now or later; tell whether it is."""
        answer = self._methods.get(str(call.value.get("method")))
        if answer is None:
            return False
        try:
            value = answer(peer, call, time.monotonic())
        except RefusedError as exc:
            error: JsonObject = {"code": exc.code, "detail": exc.to_detail()}
            _reply(peer, Reply(call.id, ReplyKind.ERROR, error))
        else:
            if value is not None:
                _reply(peer, Reply(call.id, ReplyKind.LAST, value))
        return True

    def due(self, token: int) -> None:
        """The time of a grant is over."""
        self._granted(self._table.expired(token, time.monotonic()))

    def peer_gone(self, peer: ClientPeer) -> None:
        """A client is gone, and does not hold or want anything."""
        self._gone([PeerId(peer.number)])

    def process_gone(self, pid: int) -> None:
        """A mule's process is gone: its clients are, even if a child has them open."""
        peers = self._clients.peers
        self._gone(
            [
                number
                for number in self._table.peers
                if (peer := peers.get(number)) and peer.credentials.pid == pid
            ]
        )

    def describe(self, start: int = 0) -> Iterator[JsonObject]:
        """Tell which locks are held, but for the first *start*, for the status."""
        now = time.monotonic()
        peers = self._clients.peers
        known = (held for held in self._table.held() if held.peer in peers)
        for held in islice(known, start, None):
            peer = peers[held.peer]
            yield {
                "name": held.name,
                "holder": peer.name,
                "pid": peer.credentials.pid,
                "held_s": round(now - held.since, 3),
                "waiting": held.waiting,
                "token": held.token,
            }

    # The calls

    def _lock(self, peer: ClientPeer, call: Call, now: float) -> JsonObject | None:
        name = _lock_name(call)
        try:
            ttl = check_ttl(call.value.get("ttl"))
        except ValueError as exc:
            raise BadCallError(str(exc)) from exc
        wait = call.value.get("wait", True)
        if not isinstance(wait, bool):
            raise BadCallError(f"wait {wait!r}; allowed: true or false")
        number = PeerId(peer.number)
        grant = self._table.acquire(name, number, call.id, ttl, now, wait=wait)
        self._granted(grant)
        return {"token": None} if grant is None and not wait else None

    def _unlock(self, peer: ClientPeer, call: Call, now: float) -> JsonObject:
        name, token = _lock_name(call), _number(call, "token")
        heir = self._table.release(name, PeerId(peer.number), token, now)
        self._granted(heir)
        return {}

    def _withdraw(self, peer: ClientPeer, call: Call, now: float) -> JsonObject:
        number = _number(call, "call")
        self._granted(self._table.withdraw(PeerId(peer.number), number, now))
        return {}

    def _is_locked(self, _peer: ClientPeer, call: Call, _now: float) -> JsonObject:
        return {"locked": self._table.is_locked(_lock_name(call))}

    # What follows

    def _gone(self, peers: list[PeerId]) -> None:
        for heir in self._table.peers_gone(peers, time.monotonic()):
            self._granted(heir)

        self._disarm()

    def _disarm(self) -> None:
        for token in self._table.take_ended():
            self._ticker.disarm((LOCK_DEADLINE, token))

    def _granted(self, grant: Grant | None) -> None:
        """Tell who has a lock now, and see that it ends in time."""
        self._disarm()
        if grant is None:
            return
        peer = self._clients.peers.get(grant.peer)
        if peer is None:
            # It has connected again, and the end of its old connection is not seen yet.
            self._gone([grant.peer])
            return
        if grant.expires_at is not None:
            self._ticker.arm((LOCK_DEADLINE, grant.token), grant.expires_at)
        _reply(peer, Reply(grant.call, ReplyKind.LAST, {"token": grant.token}))


def _reply(peer: ClientPeer, reply: Reply) -> None:
    if peer.connection is None:
        raise AssertionError("it asked")
    peer.connection.send(reply)


def _lock_name(call: Call) -> str:
    try:
        return check_lock_name(call.value.get("name"))
    except ValueError as exc:
        raise BadCallError(str(exc)) from exc


def _number(call: Call, key: str) -> int:
    number = call.value.get(key)
    if not isinstance(number, int) or isinstance(number, bool):
        raise BadCallError(f"{key} {number!r}; allowed: an integer")
    return number
