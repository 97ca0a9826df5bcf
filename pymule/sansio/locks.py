"""Who has which lock, who is next in line, and by which token.

A lock exists while somebody holds it. Each *acquire* is a holder of its own, known by
its peer (one connection) and its call; so no lock is recursive, and a lock ends with
the connection by which it was had. The line of a lock is first come, first served.

Every grant has a token, greater than all before it, of whatever lock. Who passes it on
with each write lets a store refuse what a former holder writes late.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NewType

from pymule.errors import BadCallError, NotHolderError

__all__ = (
    "MAX_LOCKS",
    "Grant",
    "HeldLock",
    "LockTable",
    "PeerId",
)

PeerId = NewType("PeerId", int)
"""One connection of a client, never used twice by one master."""

MAX_LOCKS: Final = 10_000
"""Locks that one connection holds and waits for, at most."""


@dataclass(frozen=True, slots=True)
class Grant:
    """*peer* has the lock *name*, as it asked with *call*.

    Args:
        name: Of the lock.
        token: Greater than that of every grant before.
        peer: The holder's connection.
        call: What the holder asked with.
        expires_at: When it is taken away again; ``None`` for never.
    """

    name: str
    token: int
    peer: PeerId
    call: int
    expires_at: float | None


@dataclass(frozen=True, slots=True)
class HeldLock:
    """One lock as the status shows it: held since *since*, *waiting* are in line."""

    name: str
    token: int
    peer: PeerId
    since: float
    waiting: int


@dataclass(slots=True, eq=False)
class _Lock:
    grant: Grant
    since: float
    # Peer and call -> ttl. Ordered: the front of a plain dict is found ever slower.
    line: OrderedDict[tuple[PeerId, int], float | None] = field(
        default_factory=OrderedDict
    )


@dataclass(slots=True, eq=False)
class _Peer:
    # Call -> lock it waits for.
    waiting: dict[int, str] = field(default_factory=dict)
    # Token -> lock that it holds.
    holding: dict[int, str] = field(default_factory=dict)
    # Call -> token that it brought last.
    granted: dict[int, int] = field(default_factory=dict)


class LockTable:
    """All locks of a master; ``now`` is monotonic seconds everywhere.

    Args:
        first_token: Greater than all tokens of the masters before.
    """

    def __init__(self, first_token: int) -> None:
        self._next_token = first_token
        self._locks: dict[str, _Lock] = {}
        self._peers: dict[PeerId, _Peer] = {}
        # Token -> lock.
        self._tokens: dict[int, str] = {}
        self._ended: list[int] = []

    def acquire(
        self,
        name: str,
        peer: PeerId,
        call: int,
        ttl: float | None,
        now: float,
        *,
        wait: bool = True,
    ) -> Grant | None:
        """Give the lock to *peer*, or let it stand in line if it may *wait*.

        Raises:
            BadCallError: The peer waits with the same call already, or has so many
                locks and waits for so many that one more would be too much.
        """
        known = self._peers.get(peer, _NOBODY)
        if call in known.waiting:
            raise BadCallError(f"call {call} is waiting for a lock already")
        if len(known.waiting) + len(known.holding) >= MAX_LOCKS:
            raise BadCallError(
                f"{MAX_LOCKS} locks are held and waited for on this connection;"
                " no more are allowed"
            )
        lock = self._locks.get(name)
        if lock is None:
            return self._grant(name, peer, call, ttl, now)
        if wait:
            lock.line[peer, call] = ttl
            self._peers.setdefault(peer, _Peer()).waiting[call] = name
        return None

    def release(self, name: str, peer: PeerId, token: int, now: float) -> Grant | None:
        """Take the lock from *peer*; return the heir's grant, if there is an heir.

        Raises:
            NotHolderError: That peer does not hold it by that token.
        """
        if self._peers.get(peer, _NOBODY).holding.get(token) != name:
            raise NotHolderError(name)
        return self._pass_on(name, now)

    def withdraw(self, peer: PeerId, call: int, now: float) -> Grant | None:
        """*peer* wants no more what it asked for with *call*, be it granted or not."""
        known = self._peers.get(peer, _NOBODY)
        if call in known.waiting:
            self._leave_line(peer, call)
        elif call in known.granted:
            return self._pass_on(known.holding[known.granted[call]], now)
        return None

    def peers_gone(self, peers: Iterable[PeerId], now: float) -> list[Grant]:
        """Forget *peers* that ended together; none of them is an heir."""
        gone = [(peer, self._peers[peer]) for peer in peers if peer in self._peers]
        for peer, known in gone:
            for call in list(known.waiting):
                self._leave_line(peer, call)
        names = [name for _, known in gone for name in known.holding.values()]
        heirs = [self._pass_on(name, now) for name in names]
        return [heir for heir in heirs if heir is not None]

    def expired(self, token: int, now: float) -> Grant | None:
        """Take the lock of *token* from its holder, if its time is over."""
        name = self._tokens.get(token)
        if name is None:
            return None
        expires_at = self._locks[name].grant.expires_at
        if expires_at is None or expires_at > now:
            return None
        return self._pass_on(name, now)

    def take_ended(self) -> list[int]:
        """Return the tokens that had an end in time and ended, since the last call."""
        ended, self._ended = self._ended, []
        return ended

    def is_locked(self, name: str) -> bool:
        """Whether somebody holds the lock."""
        return name in self._locks

    @property
    def peers(self) -> Iterable[PeerId]:
        """Those that hold or want something."""
        return self._peers.keys()

    def held(self) -> Iterator[HeldLock]:
        """Yield every lock that somebody holds."""
        for name, lock in self._locks.items():
            grant = lock.grant
            yield HeldLock(name, grant.token, grant.peer, lock.since, len(lock.line))

    def _grant(
        self, name: str, peer: PeerId, call: int, ttl: float | None, now: float
    ) -> Grant:
        token, self._next_token = self._next_token, self._next_token + 1
        grant = Grant(name, token, peer, call, None if ttl is None else now + ttl)
        lock = self._locks.get(name)
        if lock is None:
            self._locks[name] = _Lock(grant, now)
        else:
            lock.grant, lock.since = grant, now
        self._tokens[token] = name
        known = self._peers.setdefault(peer, _Peer())
        known.holding[token] = name
        known.granted[call] = token
        return grant

    def _pass_on(self, name: str, now: float) -> Grant | None:
        """Take a lock from its holder and give it to the next in line, if any."""
        lock = self._locks[name]
        self._take_back(lock.grant)
        if not lock.line:
            del self._locks[name]
            return None
        (peer, call), ttl = lock.line.popitem(last=False)
        del self._peers[peer].waiting[call]
        return self._grant(name, peer, call, ttl, now)

    def _take_back(self, grant: Grant) -> None:
        del self._tokens[grant.token]
        if grant.expires_at is not None:
            self._ended.append(grant.token)
        known = self._peers[grant.peer]
        del known.holding[grant.token]
        # A peer may have used the number of the answered call again.
        if known.granted.get(grant.call) == grant.token:
            del known.granted[grant.call]
        self._forget_if_idle(grant.peer)

    def _leave_line(self, peer: PeerId, call: int) -> None:
        name = self._peers[peer].waiting.pop(call)
        del self._locks[name].line[peer, call]
        self._forget_if_idle(peer)

    def _forget_if_idle(self, peer: PeerId) -> None:
        known = self._peers[peer]
        if not known.waiting and not known.holding:
            del self._peers[peer]


_NOBODY: Final = _Peer()
