"""Functions in a mule: told to the master, and run as their calls come.

``async def`` functions are tasks on the loop of the link, a few at a time; a ``def``
runs in a thread of its own, one call at a time, so that neither the program nor its
handlers wait for it. A call is acknowledged when the function has returned.
"""

import asyncio
import inspect
import sys
import threading
import traceback
import typing
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Final

from pymule.functions import MSGPACK, PICKLE, Function, Functions
from pymule.mule.hands import Hands
from pymule.mule.inbox import Hand
from pymule.mule.link import MuleLink
from pymule.sansio.verbs import JsonObject
from pymule.verdicts import verdict_in

__all__ = ("MuleFunctions",)

_CONCURRENCY: Final = 8
"""Calls of ``async def`` functions that run at a time."""


class _BadCallError(Exception):
    """A call that cannot be made, now or ever."""


class _Parameters:
    """What a function takes: worked out once, since that is most of a call's cost."""

    __slots__ = ("function", "hints", "signature")

    def __init__(self, function: Callable[..., object]) -> None:
        self.function = function
        self.signature = inspect.signature(function)
        self.hints: dict[str, object] = {}
        # It fails on names that only a type checker knows.
        with suppress(Exception):
            self.hints = typing.get_type_hints(function, include_extras=True)


class MuleFunctions:
    """The functions of one mule at work.

    Args:
        link: To the master.
        hands: Of the consumers.
        functions: Those of this process.
        take: Takes a message into a hand, in a task.
        take_blocking: Takes a message into a hand, in a thread.
        allow_pickle: Whether arguments may be pickled.
    """

    def __init__(
        self,
        link: MuleLink,
        hands: Hands,
        functions: Functions,
        *,
        take: Callable[[Hand], Awaitable[bytes]],
        take_blocking: Callable[[Hand], bytes],
        allow_pickle: bool,
    ) -> None:
        self._link = link
        self._hands = hands
        self._functions = functions
        self._take = take
        self._take_blocking = take_blocking
        self._allow_pickle = allow_pickle
        self._tasks: set[asyncio.Task[None]] = set()
        # Of those that the master was told.
        self._names: set[str] = set()
        self._parameters: dict[str, _Parameters] = {}
        # One def at a time, also of those that were noted later.
        self._turn = threading.Lock()
        link.on_ready = self.start

    def start(self) -> None:
        """Tell the master what was noted, and from now on what is added."""
        self._functions.on_added = lambda function: self._tell([function])
        self._tell(list(self._functions.by_name.values()))

    def _tell(self, noted: list[Function]) -> None:
        link = self._link
        with link.lock:
            ours = [
                one
                for one in noted
                if one.name not in self._names and one.is_for(link.mule_id, link.farms)
            ]
            self._names.update(one.name for one in ours)
        if ours:
            names = [function.name for function in ours]
            answer = link.ask({"method": "functions", "names": names})
            answer.add_done_callback(lambda done: self._told(ours, done.exception()))

    def _told(self, ours: list[Function], error: BaseException | None) -> None:
        """Run what comes for *ours*; on the loop of the link."""
        if error is not None:
            context = {"message": "functions are not registered", "exception": error}
            self._link.loop.call_exception_handler(context)
            return
        plain = tuple(function.queue for function in ours if not function.is_async)
        if plain:
            threading.Thread(
                target=self._serve, args=(plain,), name="pymule functions", daemon=True
            ).start()
        asynchronous = tuple(function.queue for function in ours if function.is_async)
        for _ in range(_CONCURRENCY if asynchronous else 0):
            task = self._link.loop.create_task(
                self._serve_async(asynchronous), name="pymule functions"
            )
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    # A def, in a thread

    def _serve(self, queues: tuple[str, ...]) -> None:
        while True:
            hand = self._hands.new_in_thread(queues)
            self._measure(hand)
            try:
                body = self._take_blocking(hand)
            except SystemExit:
                # The program has ended.
                self._hands.done(hand)
                return
            with self._turn:
                self._run(hand, body)

    def _run(self, hand: Hand, body: bytes) -> None:
        function = self._function_of(hand)
        try:
            result = self._prepare(function, body)()
            if inspect.isawaitable(result):
                # A def around an async def, as decorators write it.
                asyncio.run_coroutine_threadsafe(
                    _wait(result), self._link.loop
                ).result()
        except BaseException as exc:  # noqa: BLE001  (the user's code)
            self._failed(hand, function, exc)
        else:
            self._hands.done(hand)

    # An async def, on the loop of the link

    async def _serve_async(self, queues: tuple[str, ...]) -> None:
        while True:
            hand = await self._hands.new(queues)
            self._measure(hand)
            try:
                body = await self._take(hand)
            except BaseException:
                self._hands.done(hand)
                raise
            await self._run_async(hand, body)

    async def _run_async(self, hand: Hand, body: bytes) -> None:
        function = self._function_of(hand)
        try:
            result = self._prepare(function, body)()
            if inspect.isawaitable(result):
                await result
        except BaseException as exc:
            self._failed(hand, function, exc)
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
        else:
            self._hands.done(hand)

    # Both

    def _measure(self, hand: Hand) -> None:
        with self._link.lock:
            self._link.measure(hand.lane)

    def _function_of(self, hand: Hand) -> str:
        """Return the name of the function that the message in *hand* is for."""
        position = hand.position
        if position is None:
            raise AssertionError("asked right after the message was taken")
        with self._link.lock:
            return hand.lane.arrival_of(position).source.decode().removeprefix("func:")

    def _prepare(self, name: str, body: bytes) -> Callable[[], object]:
        """Return the call that *body* asks for.

        Raises:
            _BadCallError: It cannot be made.
        """
        function = self._functions.by_name.get(name)
        if function is None:
            raise _BadCallError("this mule has no such function")
        args, kwargs = self._decode(body)
        parameters = self._parameters.get(name)
        if parameters is None or parameters.function is not function.function:
            parameters = self._parameters[name] = _Parameters(function.function)
        try:
            bound = parameters.signature.bind(*args, **kwargs)
        except TypeError as exc:
            raise _BadCallError(str(exc)) from exc
        if body[:1] == MSGPACK:
            _convert(parameters.hints, bound)
        return partial(function.function, *bound.args, **bound.kwargs)

    def _decode(self, body: bytes) -> tuple[list[object], dict[str, object]]:
        kind = body[:1]
        if kind == PICKLE and not self._allow_pickle:
            raise _BadCallError("it is pickled, and allow_pickle is false")
        if kind not in {MSGPACK, PICKLE}:
            raise _BadCallError(f"its first byte is {kind!r}; allowed: 1 and 2")
        try:
            value = _unpickle(body[1:]) if kind == PICKLE else _unpack(body[1:])
        except Exception as exc:
            raise _BadCallError(f"its arguments cannot be read: {exc!r}") from exc
        match value:
            case [list() | tuple() as args, dict() as kwargs] if all(
                isinstance(key, str) for key in kwargs
            ):
                return list(args), kwargs
        raise _BadCallError("it has no arguments; allowed: [args, kwargs]")

    def _failed(self, hand: Hand, name: str, error: BaseException) -> None:
        """Give a call back; one that cannot be made becomes a dead letter."""
        if isinstance(error, _BadCallError):
            sys.stderr.write(f"call of {name} refused: {error}\n")
            described: JsonObject = {"type": "BadCall", "text": f"{name}: {error}"}
            self._hands.nack(hand, described, is_final=True)
            return
        if (verdict := verdict_in(error)) is not None:
            sys.stderr.write(f"call of {name}: {type(verdict).__name__}: {verdict}\n")
        else:
            sys.stderr.write(f"call of {name} raised\n")
            traceback.print_exception(error)
        self._hands.failed(hand, error)

    async def close(self) -> None:
        """Let no call on this loop outlive the program."""
        self._functions.on_added = None
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)


def _unpack(data: bytes) -> object:
    # Only a mule that is called pays for loading it.
    import msgspec.msgpack  # noqa: PLC0415

    value: object = msgspec.msgpack.decode(data)
    return value


def _unpickle(data: bytes) -> object:
    import pickle  # noqa: PLC0415  (as above)

    value: object = pickle.loads(data)  # noqa: S301  (the file allows it)
    return value


async def _wait(result: Awaitable[object]) -> None:
    await result


def _convert(hints: dict[str, object], bound: inspect.BoundArguments) -> None:
    """Make the arguments what the parameters are annotated with.

    Raises:
        _BadCallError: One of them is something else.
    """
    import msgspec  # noqa: PLC0415  (as above)

    for name, value in bound.arguments.items():
        if name not in hints:
            continue
        hint = hints[name]
        kind = bound.signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            hint = tuple[hint, ...]  # type: ignore[valid-type]  # a type at run time
        elif kind is inspect.Parameter.VAR_KEYWORD:
            hint = dict[str, hint]  # type: ignore[valid-type]  # as above
        try:
            bound.arguments[name] = msgspec.convert(value, hint)
        except msgspec.ValidationError as exc:
            raise _BadCallError(f"argument {name}: {exc}") from exc
        except TypeError:
            # The annotation is not one of msgspec's; the value stays as it came.
            continue
