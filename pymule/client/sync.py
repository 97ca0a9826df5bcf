"""The blocking client, for any thread of a program without an event loop.

The functions use one client for the whole process, which connects on first use. When
the interpreter exits it waits a moment for what has no answer yet.
"""

import atexit
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from time import monotonic
from types import TracebackType
from typing import Final, Self, Unpack

from pymule.client.exchange import Exchange, Waiter
from pymule.client.reach import find_socket, join_ids, target_of, to_bytes
from pymule.client.sync_locks import Held, Locking
from pymule.errors import ConnectionLostError, MessageTooBigError
from pymule.sansio.options import (
    BatchOptionWords,
    OptionWords,
    pack_batch_options,
    pack_options,
)
from pymule.sansio.outbox import MESSAGE_COST, Pile, Ticket
from pymule.sansio.signal_words import check_number
from pymule.sansio.timers import check_timer
from pymule.sansio.verbs import JsonObject

__all__ = (
    "Client",
    "add_timer",
    "cancel_timer",
    "default_client",
    "farm_msg",
    "farm_msgs",
    "flush",
    "is_locked",
    "lock",
    "mule_msg",
    "mule_msgs",
    "raise_signal",
    "try_lock",
)

_LAST_FLUSH_S: Final = 2.0


class Client(Locking):
    """A connection to the master, kept open across the master's restarts.

    Any number of threads may use it, and after ``os.fork`` the child too, over a
    connection of its own and with nothing sent. An exception from a signal handler,
    such as ``KeyboardInterrupt``, leaves it usable. There is no thread behind it: what
    was sent with ``confirm=False`` and lost with its connection is sent again by a
    later call, at the latest by :meth:`flush`.

    Args:
        socket: Path of the master's socket; default ``PYMULE_SOCKET``, then the
            default of ``pymuled``.
        name: What ``pymule status`` calls this client.
    """

    def __init__(
        self, socket: str | os.PathLike[str] | None = None, *, name: str = ""
    ) -> None:
        super().__init__(Exchange(find_socket(socket), name))

    def __enter__(self) -> Self:
        """Connect.

        Raises:
            MasterUnavailableError: Nobody answers at the socket.
        """
        self._exchange.meet()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Wait for what was sent, unless an exception is on its way, and close."""
        try:
            if exc is None:
                self.flush()
        finally:
            self.close()

    @property
    def message_limit(self) -> int:
        """The bytes that a message may have.

        Raises:
            MasterUnavailableError: Nobody answers at the socket.
        """
        self._exchange.meet()
        return self._exchange.message_limit

    # Sending

    def mule_msg(
        self,
        message: bytes | str,
        mule: int | None = None,
        *,
        confirm: bool = True,
        **options: Unpack[OptionWords],
    ) -> int:
        """Send *message* to mule number *mule*, or to the first available one.

        See :meth:`farm_msg`.
        """
        return self.send(mule, message, pack_options(**options), confirm=confirm)

    def farm_msg(
        self,
        farm: str,
        message: bytes | str,
        *,
        confirm: bool = True,
        **options: Unpack[OptionWords],
    ) -> int:
        """Send *message* to one mule of *farm*; block until the master has it.

        Arguments, result and errors are those of :meth:`pymule.Client.farm_msg`.
        Without *confirm* it blocks only while the window is full; refusals are left
        to :meth:`flush`.

        An exception from a signal handler (``KeyboardInterrupt``) leaves the client
        usable; the message may be delivered all the same.
        """
        return self.send(farm, message, pack_options(**options), confirm=confirm)

    def mule_msgs(
        self,
        messages: Iterable[bytes | str],
        mule: int | None = None,
        *,
        confirm: bool = True,
        **options: Unpack[BatchOptionWords],
    ) -> Sequence[int]:
        """Send many *messages* and wait once; see :meth:`pymule.Client.farm_msgs`."""
        packed = pack_batch_options(**options)
        return self.send_many(mule, messages, packed, confirm=confirm)

    def farm_msgs(
        self,
        farm: str,
        messages: Iterable[bytes | str],
        *,
        confirm: bool = True,
        **options: Unpack[BatchOptionWords],
    ) -> Sequence[int]:
        """Send many *messages* and wait once; see :meth:`pymule.Client.farm_msgs`."""
        packed = pack_batch_options(**options)
        return self.send_many(farm, messages, packed, confirm=confirm)

    def send(
        self,
        where: str | int | None,
        message: bytes | str,
        options: bytes = b"",
        *,
        confirm: bool = True,
    ) -> int:
        """Send *message* to the farm or mule *where*, with packed *options*."""
        ids = self.send_many(where, [message], options, confirm=confirm)
        return ids[0] if confirm else 0

    def send_many(
        self,
        where: str | int | None,
        messages: Iterable[bytes | str],
        options: bytes = b"",
        *,
        confirm: bool = True,
    ) -> Sequence[int]:
        """Send *messages* to the farm or mule *where*, with packed *options*."""
        bodies = [to_bytes(message) for message in messages]
        target = target_of(where)
        self._exchange.meet()
        limit = self._exchange.message_limit
        for body in bodies:
            if len(body) > limit:
                raise MessageTooBigError(len(body), limit)
        if not bodies:
            return range(0)
        ticket = Ticket(len(bodies), Waiter()) if confirm else None
        for pile in _piles(Pile(target, options), bodies, limit, ticket):
            self._exchange.submit(pile)
        if ticket is None:
            self._exchange.wait_until_sent()
            return range(0)
        self._exchange.wait_for(ticket)
        if ticket.error is not None:
            # The same error may be raised in other threads.
            raise ticket.error.with_traceback(None)
        return join_ids(ticket.ids)

    def allows_pickle(self) -> bool:
        """Whether mules unpickle the arguments of functions; connect to learn it.

        Raises:
            MasterUnavailableError: Nobody answers at the socket.
        """
        self._exchange.meet()
        return self._exchange.allow_pickle

    # Asking

    def call(self, method: str, **params: object) -> JsonObject:
        """Ask the master; return its answer.

        Raises:
            RefusedError: The master said no.
            ConnectionLostError: It went away before it answered.
        """
        return self._exchange.ask({"method": method, **params})

    # Ending

    def flush(self) -> None:
        """Block until every message sent so far has its answer.

        Raises:
            RefusedError: The first reason for which a message was refused that was
                sent with ``confirm=False``; a note tells how many more.
        """
        self._exchange.flush()

    def close(self, *, flush_s: float = 0.0) -> None:
        """Close the connection; what has no answer is in doubt.

        Threads that wait for an answer get a ConnectionLostError.

        Args:
            flush_s: Seconds to wait for answers before.

        Raises:
            ConnectionLostError: There were none in that time.
            RefusedError: As :meth:`flush`.
        """
        try:
            if flush_s:
                self._exchange.flush(monotonic() + flush_s)
        except TimeoutError:
            unacked = self._exchange.unanswered
            raise ConnectionLostError(
                f"{unacked} messages have no answer after {flush_s:g} seconds", unacked
            ) from None
        finally:
            self._exchange.close()


def _piles(
    pile: Pile[Waiter],
    bodies: Iterable[bytes],
    limit: int,
    ticket: Ticket[Waiter] | None,
) -> Iterator[Pile[Waiter]]:
    """Yield *pile* and more like it, filled with *bodies*, each fit for one frame."""
    pile.room = min(pile.room, limit)
    room = pile.room
    for body in bodies:
        if pile.messages and pile.room < len(body) + MESSAGE_COST:
            yield pile
            pile = Pile(pile.target, pile.options)
            pile.room = room
        pile.add(body, ticket)
    yield pile


_client: Client | None = None
_opening = threading.Lock()


def default_client() -> Client:
    """Return the client of this process; it connects when it is used."""
    global _client  # noqa: PLW0603  (a process has one)
    if _client is None:
        with _opening:
            if _client is None:
                _client = Client()
    return _client


def mule_msg(
    message: bytes | str,
    mule: int | None = None,
    *,
    confirm: bool = True,
    **options: Unpack[OptionWords],
) -> int:
    """Send *message* to mule number *mule*, or to the first available one.

    Arguments, result and errors are those of :meth:`pymule.Client.farm_msg`.
    """
    return default_client().mule_msg(message, mule, confirm=confirm, **options)


def farm_msg(
    farm: str,
    message: bytes | str,
    *,
    confirm: bool = True,
    **options: Unpack[OptionWords],
) -> int:
    """Send *message* to one mule of *farm*; block until the master has it.

    Arguments, result and errors are those of :meth:`pymule.Client.farm_msg`.
    """
    return default_client().farm_msg(farm, message, confirm=confirm, **options)


def mule_msgs(
    messages: Iterable[bytes | str],
    mule: int | None = None,
    *,
    confirm: bool = True,
    **options: Unpack[BatchOptionWords],
) -> Sequence[int]:
    """Send many *messages* and wait once; see :meth:`pymule.Client.farm_msgs`."""
    return default_client().mule_msgs(messages, mule, confirm=confirm, **options)


def farm_msgs(
    farm: str,
    messages: Iterable[bytes | str],
    *,
    confirm: bool = True,
    **options: Unpack[BatchOptionWords],
) -> Sequence[int]:
    """Send many *messages* and wait once; see :meth:`pymule.Client.farm_msgs`."""
    return default_client().farm_msgs(farm, messages, confirm=confirm, **options)


def lock(
    name: str | int, *, ttl: float | None = None, timeout: float | None = None
) -> AbstractContextManager[Held]:
    """Hold the lock *name* in the block; see the client's."""
    return default_client().lock(name, ttl=ttl, timeout=timeout)


def try_lock(name: str | int, ttl: float | None = None) -> Held | None:
    """Take the lock *name* if it is free; see the client's."""
    return default_client().try_lock(name, ttl)


def is_locked(name: str | int) -> bool:
    """Whether somebody holds the lock *name*, be it the caller."""
    return default_client().is_locked(name)


def flush() -> None:
    """Block until all that this process sent has its answer; see the client's."""
    if _client is not None:
        _client.flush()


def raise_signal(signum: int) -> None:
    """Let the handler of signal *signum* run at its target.

    The blocking twin of :func:`pymule.raise_signal`.
    """
    default_client().call("raise", signal=check_number(signum))


def add_timer(signum: int, seconds: float, *, iterations: int = 0) -> int:
    """Raise signal *signum* every so many *seconds*; return the id of the timer.

    The blocking twin of :func:`pymule.add_timer`.
    """
    check_timer(seconds, iterations)
    answer = default_client().call(
        "timer_add", signal=check_number(signum), every=seconds, iterations=iterations
    )
    return int(str(answer["timer"]))


def cancel_timer(timer: int) -> bool:
    """Disarm the timer with that id; tell whether it was armed."""
    return bool(default_client().call("timer_cancel", timer=timer)["cancelled"])


def _close_at_exit() -> None:
    if _client is not None:
        _client.close(flush_s=_LAST_FLUSH_S)


def _renew_lock() -> None:
    """A thread of the parent may have held it at the fork."""
    global _opening  # noqa: PLW0603  (its only writer)
    _opening = threading.Lock()


atexit.register(_close_at_exit)
os.register_at_fork(after_in_child=_renew_lock)
