"""``@mulefunc``: calling a function here lets a mule run it."""

import asyncio
import functools
from collections.abc import Callable
from typing import Generic, ParamSpec, TypeVar, Unpack, overload

from pymule.functions import (
    MSGPACK,
    PICKLE,
    Function,
    function_name,
    functions,
    target_of_mules,
)
from pymule.sansio.options import OptionWords, pack_options

__all__ = ("MuleFunc", "mulefunc")

P = ParamSpec("P")
R = TypeVar("R")

# Calls under way: a loop keeps only a weak reference to its tasks.
_calls: set[asyncio.Task[int]] = set()


class MuleFunc(Generic[P, R]):
    """A function that is run by a mule when it is called.

    Attributes:
        function: The function itself, to be called here.
    """

    __name__: str

    def __init__(
        self, function: Callable[P, R], where: int | str | None = None
    ) -> None:
        if not callable(function):
            raise TypeError(f"mulefunc of {function!r}; allowed: a function")
        self._noted = Function(
            function_name(function), target_of_mules(where), function
        )
        self.function = function
        self.__wrapped__ = function
        functools.update_wrapper(self, function)
        functions.add(self._noted)

    @property
    def target(self) -> str:
        """The mules that run it: ``mule``, ``muleN`` or ``farm:NAME``."""
        return str(self._noted.target)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> asyncio.Task[int] | int:
        """Let a mule run the function with these arguments.

        Where an event loop runs, the call is sent by a task, which is returned: await
        it to know that the master has the call. Elsewhere this blocks until then. The
        arguments are read at once, so they may be changed after the call.

        Returns:
            The id of the message, or the task that has it for a result.

        Raises:
            TypeError: An argument cannot be encoded; says which and of what type.
            UnknownTargetError: No mule has the function, and none is being started.
            MessageTooBigError: The arguments do not fit in a frame.
            MasterUnavailableError: Nobody answers at the socket.
        """
        return self._call(b"", args, kwargs)

    def with_options(
        self, **options: Unpack[OptionWords]
    ) -> Callable[P, asyncio.Task[int] | int]:
        """Return what to call for a call whose message has these *options*.

        ``report.with_options(delay=60)("user 7")`` lets a mule run ``report`` in a
        minute. The options are those of :func:`pymule.mule_msg`.

        Raises:
            ValueError: An option is out of its range.
        """
        packed = pack_options(**options)

        def call(*args: P.args, **kwargs: P.kwargs) -> asyncio.Task[int] | int:
            return self._call(packed, args, kwargs)

        return call

    def _call(
        self, options: bytes, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> asyncio.Task[int] | int:
        call = _encode(self._noted.name, args, kwargs)
        queue = self._noted.queue
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return _send_blocking(queue, call, options)
        task = loop.create_task(
            _send(queue, call, options), name=f"pymule call of {self._noted.name}"
        )
        _calls.add(task)
        task.add_done_callback(_calls.discard)
        return task

    def __repr__(self) -> str:
        return f"<mulefunc {self._noted.name} of {self.target}>"


@overload
def mulefunc(where: Callable[P, R], /) -> MuleFunc[P, R]: ...
@overload
def mulefunc(
    where: int | str | None = None, /
) -> Callable[[Callable[P, R]], MuleFunc[P, R]]: ...
def mulefunc(
    where: Callable[P, R] | int | str | None = None, /
) -> MuleFunc[P, R] | Callable[[Callable[P, R]], MuleFunc[P, R]]:
    """Let calls of the decorated function be run by a mule.

    ``@mulefunc`` is for the first available mule that has the function,
    ``@mulefunc(2)`` for mule 2, ``@mulefunc("busy")`` for one of that farm. What the
    function returns is dropped; what it raises makes the message fail, which is tried
    again as any other.

    Arguments travel as msgpack, and annotated parameters get what they are annotated
    with. Others, such as objects of your own classes, are pickled where the
    configuration says ``allow_pickle = true``.
    """
    if callable(where):
        return MuleFunc(where)
    # Wrong targets are errors where they are written.
    target_of_mules(where)
    return lambda function: MuleFunc(function, where)


class _Call:
    """An encoded call, and why it had to be pickled, if it had to."""

    __slots__ = ("body", "problem")

    def __init__(self, body: bytes, problem: TypeError | None = None) -> None:
        self.body = body
        self.problem = problem

    def check(self, *, allows_pickle: bool) -> None:
        """Raise what is wrong with it for a master that does, or does not."""
        if self.problem is not None and not allows_pickle:
            raise self.problem


def _encode(name: str, args: tuple[object, ...], kwargs: dict[str, object]) -> _Call:
    """Encode a call.

    Raises:
        TypeError: Neither msgpack nor pickle can say it.
    """
    problem = None
    try:
        return _Call(MSGPACK + _msgpack([args, kwargs]))
    except (TypeError, ValueError, OverflowError, RecursionError) as exc:
        problem = _problem_of(name, args, kwargs, exc)
    # Most never need it, and it takes a millisecond to load.
    import pickle  # noqa: PLC0415

    try:
        return _Call(PICKLE + pickle.dumps((args, kwargs)), problem)
    except Exception:  # noqa: BLE001  (whatever the classes of the user raise)
        raise problem from None


def _msgpack(value: object) -> bytes:
    # Only those who call a function pay for loading it.
    import msgspec.msgpack  # noqa: PLC0415

    return msgspec.msgpack.encode(value)


def _problem_of(
    name: str, args: tuple[object, ...], kwargs: dict[str, object], error: Exception
) -> TypeError:
    """Say which argument cannot be encoded."""
    named = [*((str(n), arg) for n, arg in enumerate(args, 1)), *kwargs.items()]
    for which, value in named:
        try:
            _msgpack(value)
        except (TypeError, ValueError, OverflowError, RecursionError) as exc:
            return TypeError(
                f"{name}: argument {which} is {type(value).__qualname__}: {exc};"
                " allowed: what msgpack can say, or anything that can be pickled with"
                " allow_pickle = true"
            )
    return TypeError(f"{name}: {error}")


async def _send(queue: str, call: _Call, options: bytes) -> int:
    from pymule.client.api import default_client  # noqa: PLC0415  (as above)

    client = await default_client()
    call.check(allows_pickle=client.allow_pickle)
    return await client.send(queue, call.body, options)


def _send_blocking(queue: str, call: _Call, options: bytes) -> int:
    from pymule.client.sync import default_client  # noqa: PLC0415  (as above)

    client = default_client()
    if call.problem is not None:
        call.check(allows_pickle=client.allows_pickle())
    return client.send(queue, call.body, options)
