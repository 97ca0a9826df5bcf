"""The handlers of this process: what runs when a signal is raised.

A decorator only notes the handler. A mule registers what is noted with the master, over
its link; any other process does when it becomes a worker. So an application imports
the same module in a mule, in a web process and in a test, and nothing happens that
nobody asked for.

Handlers are called with the number of their signal. A ``def`` is run outside of the
event loop, one at a time; an ``async def`` as a task on it.
"""

import inspect
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, Self, TypeVar

from pymule.errors import SignalConflictError
from pymule.sansio.signal_words import Outcome, Overlap, check_number
from pymule.sansio.slots import slots
from pymule.sansio.target import Target
from pymule.sansio.timers import check_timer
from pymule.sansio.verbs import JsonObject

if TYPE_CHECKING:
    from pathlib import Path

__all__ = (
    "ChangedFiles",
    "Function",
    "Handler",
    "Registry",
    "changed_files",
    "cron",
    "filemon",
    "mstimer",
    "rbtimer",
    "registry",
    "run",
    "run_async",
    "signal",
    "timer",
)

Function = Callable[[int], object]
"""A handler: a ``def`` or an ``async def`` of one argument."""

F = TypeVar("F", bound=Callable[..., object])


class ChangedFiles(tuple["Path", ...]):  # noqa: SLOT001  (a tuple cannot have slots)
    """The files that changed since a file monitor's handler ran last.

    Attributes:
        is_complete: Whether those are all; false when there were too many to tell.
    """

    is_complete: bool = True

    @classmethod
    def of(cls, paths: Iterable[str], *, is_complete: bool) -> Self:
        """Return *paths* as they came over the wire."""
        from pathlib import Path  # noqa: PLC0415  (3 ms that most never need)

        changed = cls(map(Path, paths))
        changed.is_complete = is_complete
        return changed


_NO_FILES: Final = ChangedFiles()
_changed: ContextVar[ChangedFiles] = ContextVar("changed", default=_NO_FILES)


def changed_files() -> ChangedFiles:
    """Return which files changed; empty outside of a file monitor's handler."""
    return _changed.get()


@slots(eq=False)
class Handler:
    """What is to run, for which signal, and where.

    Args:
        wanted: The number that was asked for, if one was.
        target: Who is to run it.
        function: ``None`` for a signal that is only waited for.
        name: What people call it.
        place: Where it was written.
        identity: The same in all processes for the same handler.
        overlap: What its ticks do while it runs.
        source: What raises the signal by itself, as the wire has it.
    """

    wanted: int | None
    target: str
    function: Function | None
    name: str
    place: str
    identity: str
    overlap: str
    source: JsonObject | None
    # Of the signal; None until the master has chosen one.
    number: int | None = None

    @property
    def is_async(self) -> bool:
        """Whether it is an ``async def``."""
        return inspect.iscoroutinefunction(self.function)

    def question(self) -> JsonObject:
        """Return the call that registers it with the master."""
        return {
            "method": "register",
            "signal": self.wanted,
            "target": self.target,
            "identity": self.identity,
            "handler": self.name,
            "place": self.place,
            "overlap": self.overlap,
            "source": self.source,
        }


class Registry:
    """The handlers that this process has noted, in their order."""

    def __init__(self) -> None:
        self.handlers: list[Handler] = []
        self.by_number: dict[int, Handler] = {}
        # Registers what is noted from now on; set by a mule or a worker.
        self.on_added: Callable[[Handler], None] | None = None
        self._times: dict[str, int] = {}

    def add(
        self,
        number: int | None,
        target: str,
        function: Function | None,
        *,
        overlap: str = "skip",
        source: JsonObject | None = None,
    ) -> Handler:
        """Note a handler, and register it if this process does that.

        Raises:
            TypeError: The function cannot be called, or the number is none.
            ValueError: Number, target or overlap are not allowed.
            SignalConflictError: The number has another handler.
        """
        if number is not None:
            check_number(number)
        Target.for_signal(target)
        if overlap not in {item.value for item in Overlap}:
            raise ValueError(
                f"overlap {overlap!r}; allowed: 'skip', 'queue' and 'allow'"
            )
        name, place, file = _describe(function)
        what = f"{file}:{name}|{target}|{overlap}|{json.dumps(source)}"
        known = None if number is None else self.by_number.get(number)
        if known is not None:
            if known.identity.rpartition("#")[0] == what:
                return known
            raise SignalConflictError(known.number or 0, known.place, place)
        times = self._times[what] = self._times.get(what, 0) + 1
        handler = Handler(
            number, target, function, name, place, f"{what}#{times}", overlap, source
        )
        self.handlers.append(handler)
        if number is not None:
            self.assigned(handler, number)
        if self.on_added is not None:
            try:
                self.on_added(handler)
            except BaseException:
                self.remove(handler)
                raise
        return handler

    def assigned(self, handler: Handler, number: int) -> None:
        """The master registered *handler* as *number*."""
        handler.number = number
        self.by_number[number] = handler

    def remove(self, handler: Handler) -> None:
        """The master refused *handler*."""
        self.handlers.remove(handler)
        if handler.number is not None:
            self.by_number.pop(handler.number, None)


registry: Final = Registry()
"""Of this process."""


def _register_nothing() -> None:
    """The link and the connection are the parent's."""
    registry.on_added = None


os.register_at_fork(after_in_child=_register_nothing)


def _describe(function: Function | None) -> tuple[str, str, str]:
    """Return the name of a function, where it is written, and its file."""
    if function is None:
        return "signal_wait", "signal_wait", ""
    if not callable(function):
        raise TypeError(
            f"{function!r} is no handler; allowed: a function of one argument"
        )
    plain = inspect.unwrap(function)
    name = getattr(plain, "__qualname__", type(plain).__qualname__)
    code = getattr(plain, "__code__", None)
    if code is None:
        module = str(getattr(plain, "__module__", type(plain).__module__))
        return name, module, module
    file = _absolute(code.co_filename)
    return name, f"{file}:{code.co_firstlineno}", file


def _absolute(path: str) -> str:
    if path.startswith("/"):
        return path
    from pathlib import Path  # noqa: PLC0415  (as above)

    return str(Path(path).absolute())


def run(
    handler: Handler, number: int, paths: tuple[str, ...], *, is_complete: bool
) -> Outcome:
    """Run a ``def`` in this thread; what it raises is printed."""
    token = _changed.set(ChangedFiles.of(paths, is_complete=is_complete))
    try:
        if handler.function is not None:
            handler.function(number)
    except Exception:  # noqa: BLE001  (the user's code)
        _complain(handler, number)
        return Outcome.FAILED
    finally:
        _changed.reset(token)
    return Outcome.DONE


async def run_async(
    handler: Handler, number: int, paths: tuple[str, ...], *, is_complete: bool
) -> Outcome:
    """Run an ``async def`` in this task; what it raises is printed."""
    _changed.set(ChangedFiles.of(paths, is_complete=is_complete))
    try:
        awaitable = handler.function(number) if handler.function is not None else None
        if inspect.isawaitable(awaitable):
            await awaitable
    except Exception:  # noqa: BLE001  (the user's code)
        _complain(handler, number)
        return Outcome.FAILED
    return Outcome.DONE


def _complain(handler: Handler, number: int) -> None:
    sys.stderr.write(f"signal {number}: {handler.name} ({handler.place}) raised\n")
    traceback.print_exc()


# The decorators


def signal(signum: int, *, target: str = "", overlap: str = "skip") -> Callable[[F], F]:
    """Run the decorated function when signal *signum* is raised.

    Args:
        signum: From 0 to 255.
        target: Who runs it: ``""`` and ``mule`` (the first available), ``mules``
            (all), ``muleN``, ``farm:NAME``, ``worker``, ``workers``, ``workerN``.
        overlap: What a tick of a timer does while the handler runs: ``skip``,
            ``queue``, or ``allow`` it to run twice at a time.

    Raises:
        ValueError: One of them is not allowed.
        SignalConflictError: The number has another handler.
    """
    return _decorator(signum, target, overlap, None)


def timer(
    seconds: float,
    *,
    target: str = "",
    signum: int | None = None,
    iterations: int = 0,
    overlap: str = "skip",
) -> Callable[[F], F]:
    """Run the decorated function every so many *seconds*.

    The nth tick is planned at start + n * seconds, however late the last one was.

    Args:
        seconds: From 0.001.
        target: As for :func:`signal`. With several mules to choose from, one of them
            runs each tick.
        signum: The signal that it raises; default one that is free.
        iterations: Ticks in all; 0 is without end.
        overlap: What a tick does while the one before it has not ended: ``skip``,
            which is counted, ``queue`` or ``allow``.

    Raises:
        ValueError: One of them is not allowed.
    """
    check_timer(seconds, iterations)
    source: JsonObject = {
        "kind": "timer",
        "every": float(seconds),
        "iterations": iterations,
    }
    return _decorator(signum, target, overlap, source)


def mstimer(
    milliseconds: float,
    *,
    target: str = "",
    signum: int | None = None,
    iterations: int = 0,
    overlap: str = "skip",
) -> Callable[[F], F]:
    """Run the decorated function every so many *milliseconds*; see :func:`timer`."""
    return timer(
        milliseconds / 1000,
        target=target,
        signum=signum,
        iterations=iterations,
        overlap=overlap,
    )


def rbtimer(
    seconds: float,
    *,
    target: str = "",
    signum: int | None = None,
    iterations: int = 0,
    overlap: str = "skip",
) -> Callable[[F], F]:
    """Do what :func:`timer` does, under the name that uWSGI has for *iterations*."""
    return timer(
        seconds, target=target, signum=signum, iterations=iterations, overlap=overlap
    )


def cron(
    minute: str | int,
    hour: int | None = None,
    day: int | None = None,
    month: int | None = None,
    weekday: int | None = None,
    *,
    target: str = "",
    signum: int | None = None,
    tz: str | None = None,
    misfire: str = "once",
    overlap: str = "skip",
) -> Callable[[F], F]:
    """Run the decorated function at times of the calendar.

    ``@cron("*/5 * * * *")`` has the five fields of crontab(5), ``@cron(-5, -1, -1, -1,
    -1)`` uWSGI's integers: a number is meant exactly, -1 is any, -n is every value that
    n divides.

    Args:
        minute: Or all five fields as one text.
        hour: From 0 to 23.
        day: Of the month, from 1.
        month: From 1.
        weekday: 0 and 7 are Sunday.
        target: As for :func:`signal`.
        signum: The signal that it raises; default one that is free.
        tz: Name of the time zone, such as ``Europe/Berlin``; default the master's.
        misfire: What becomes of ticks more than a minute late: ``once`` for all of
            them, ``skip``, or ``all``.
        overlap: As for :func:`timer`.

    Raises:
        ValueError: No date can match, or one of them is not allowed.
    """
    # Only those who use it pay for loading it.
    from pymule.sansio.cron import CronSpec, Misfire  # noqa: PLC0415

    rest = (hour, day, month, weekday)
    if isinstance(minute, str):
        if any(field is not None for field in rest):
            raise TypeError("a text has all five fields; allowed: nothing beside it")
        spec = CronSpec.parse(minute)
    else:
        spec = CronSpec.from_json([minute, *rest])
    source: JsonObject = {
        "kind": "cron",
        "spec": spec.to_json(),
        "tz": tz,
        "misfire": Misfire(misfire).value,
    }
    return _decorator(signum, target, overlap, source)


def filemon(
    path: "str | Path",
    *,
    target: str = "",
    signum: int | None = None,
    recursive: bool = False,
) -> Callable[[F], F]:
    """Run the decorated function when the file or directory *path* changes.

    In the handler, :func:`changed_files` tells which files changed. The path need not
    exist yet; a relative one starts at the directory of this process.

    Args:
        path: A file, or a directory: its entries are watched.
        target: As for :func:`signal`.
        signum: The signal that it raises; default one that is free.
        recursive: Watch what is below the directory, too.
    """
    from pathlib import Path  # noqa: PLC0415  (as above)

    source: JsonObject = {
        "kind": "filemon",
        "path": str(Path(path).absolute()),
        "recursive": recursive,
    }
    return _decorator(signum, target, "skip", source)


def _decorator(
    number: int | None, target: str, overlap: str, source: JsonObject | None
) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        registry.add(number, target, function, overlap=overlap, source=source)
        return function

    return decorate
