"""Locks for threads: the blocking twins of :mod:`pymule.client.locks`."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pymule.client.exchange import Exchange
from pymule.client.questions import Question, token_of
from pymule.errors import ConnectionLostError, NotHolderError, RemoteProtocolError
from pymule.sansio.lock_words import check_lock_name, check_ttl
from pymule.sansio.verbs import JsonObject

if TYPE_CHECKING:
    from pymule.client.wire import Wire

__all__ = ("Held", "Locking")


class Held:
    """A lock that was granted; as a context manager it is released at the end.

    Args:
        locking: The client that has it.
        name: Of the lock.
        token: Greater than that of every grant before, of whatever lock.
    """

    def __init__(self, locking: "Locking", name: str, token: int) -> None:
        self.name = name
        self.token = token
        self._locking = locking

    def release(self) -> None:
        """Give the lock to the next in line.

        Raises:
            NotHolderError: It was lost before: with the connection, or by its ttl.
        """
        self._locking.lock_release(self.name, self.token)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release; what the block raises goes before a lock that was lost."""
        if exc is None:
            self.release()
        else:
            self._locking.lock_abandon(self.name, self.token)


class Locking:
    """What a client can do with locks, from any thread.

    Args:
        exchange: Its way to the master.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        # Where each lock was had, by its token.
        self._homes: dict[int, Wire] = {}

    @contextmanager
    def lock(
        self,
        name: str | int,
        *,
        ttl: float | None = None,
        timeout: float | None = None,
    ) -> Iterator[Held]:
        """Hold the lock *name* in the block; wait in line for it.

        A lock is not recursive, and has nothing to do with threads: another may release
        it. If the master is replaced while this waits, it stands in the next one's
        line. A forked child does not hold what its parent does.

        Args:
            name: A text of 1 to 255 characters; a number is its text.
            ttl: Seconds after which the master takes the lock away.
            timeout: Seconds to wait, at most.

        Raises:
            TimeoutError: It was not to be had in that time.
            NotHolderError: At the end of the block, unless that raises: the lock was
                lost in it, by *ttl* or with the connection.
        """
        held = Held(self, check_lock_name(name), 0)
        try:
            held.token = self.lock_acquire(name, ttl, timeout)
            yield held
            held.release()
        except BaseException:
            # Of the block, or of a signal handler wherever above it came.
            self.lock_abandon(held.name, held.token)
            raise

    def try_lock(self, name: str | int, ttl: float | None = None) -> Held | None:
        """Take the lock *name* if it is free; ``None`` if it is not."""
        token = self._acquire(name, ttl, None, wait=False)
        return None if token is None else Held(self, check_lock_name(name), token)

    def is_locked(self, name: str | int) -> bool:
        """Whether somebody holds the lock *name*, be it the caller."""
        value: JsonObject = {"method": "is_locked", "name": check_lock_name(name)}
        while True:
            question = Question(value)
            self._exchange.settle(question)
            with suppress(ConnectionLostError):
                return bool(question.answer().get("locked"))

    def lock_acquire(
        self,
        name: str | int,
        ttl: float | None = None,
        timeout: float | None = None,
    ) -> int:
        """Take the lock *name*, without a block; return its token. See :meth:`lock`.

        An exception from a signal handler leaves the line, and the lock.
        """
        try:
            token = self._acquire(name, ttl, timeout, wait=True)
        except TimeoutError:
            raise TimeoutError(
                f"lock {name!r} was not to be had within {timeout:g} seconds"
            ) from None
        if token is None:
            raise RemoteProtocolError(f"lock {name!r} is taken, and was waited for")
        return token

    def lock_release(self, name: str | int, token: int) -> None:
        """Give the lock *name*, had by *token*, to the next in line.

        Raises:
            NotHolderError: It was lost before, or was never had.
        """
        text = check_lock_name(name)
        value = _unlock(text, token)
        # Forgotten at the end only: until then an interruption can still tell it.
        home = self._homes.get(token)
        if home is None:
            raise NotHolderError(text)
        try:
            question = Question(value, only_on=home)
            self._exchange.settle(question)
            question.answer()
        except ConnectionLostError as exc:
            raise NotHolderError(text) from exc
        except BaseException:
            # Interrupted, perhaps before it was sent.
            self._exchange.tell(value, home)
            raise
        finally:
            self._homes.pop(token, None)

    def lock_abandon(self, name: str, token: int) -> None:
        """Release as :meth:`lock_release`, but wait for nothing and raise nothing."""
        home = self._homes.get(token)
        if home is not None:
            self._exchange.tell(_unlock(name, token), home)
            self._homes.pop(token, None)

    def _acquire(
        self,
        name: str | int,
        ttl: float | None,
        timeout: float | None,
        *,
        wait: bool,
    ) -> int | None:
        deadline = None if timeout is None else monotonic() + timeout
        value: JsonObject = {
            "method": "lock",
            "name": check_lock_name(name),
            "ttl": check_ttl(ttl),
            "wait": wait,
        }
        while True:
            question = Question(value)
            try:
                self._exchange.settle(question, deadline)
                return self._granted(question)
            except ConnectionLostError:
                # Whatever that connection had in line or in hand ended with it.
                if not question.is_settled:
                    raise
            except BaseException:
                self._withdraw(question)
                raise

    def _granted(self, question: Question) -> int | None:
        token = token_of(question.answer())
        if token is not None and question.wire is not None:
            self._homes[token] = question.wire
        return token

    def _withdraw(self, question: Question) -> None:
        """Leave the line; a grant that comes at the same time is given back."""
        if question.wire is not None:
            value: JsonObject = {"method": "lock_withdraw", "call": question.number}
            self._exchange.tell(value, question.wire)


def _unlock(name: str, token: int) -> JsonObject:
    return {"method": "unlock", "name": name, "token": token}
