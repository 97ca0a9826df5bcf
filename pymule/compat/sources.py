"""Handlers, and what raises their signals, as programs for uWSGI ask for them.

uWSGI loads the application once, and what it registers is then in every process. Here
every process that has the application asks, and it must be one registration all the
same. A timer without end, a cron entry and a file monitor are therefore handlers of
their own, which raise the signal that was asked for: the master knows them by name.
"""

import sys
from collections import Counter
from collections.abc import Callable
from typing import Final

from pymule.client.signals import raise_signal
from pymule.compat.host import ask, host
from pymule.errors import NoFreeSignalError, NoHandlerError, RefusedError
from pymule.handlers import Function, registry
from pymule.sansio.signal_words import SIGNALS, check_number
from pymule.sansio.target import Target

__all__ = (
    "Decorator",
    "add_source",
    "free_number",
    "is_registered",
    "note",
    "read_target",
)

Decorator = Callable[[Function], Function]

# How often a number may be taken by another process while we ask for it.
_TRIES: Final = 4

_times: Final[Counter[str]] = Counter()


def read_target(text: str | bytes) -> str:
    """Return uWSGI's name of a target as ours.

    Raises:
        ValueError: It is none.
    """
    name = text.decode() if isinstance(text, bytes) else text
    target = "workers" if name == "active-workers" else name
    Target.for_signal(target)
    return target


def note(decorate: Decorator, function: Function) -> None:
    """Let *decorate* note a handler, and see that it is registered.

    Raises:
        ValueError: The master would not have it, or it is in conflict with another.
    """
    try:
        decorate(function)
        host.noted()
    except RefusedError as exc:
        raise ValueError(f"unable to register signal: {exc}") from exc


def add_source(
    name: str, signum: int, decorator_for: Callable[[int], Decorator]
) -> None:
    """Let something raise signal *signum*.

    Args:
        name: The same in each process that asks for the same.
        signum: It need not have a handler yet.
        decorator_for: Returns the decorator of a handler with that number.

    Raises:
        ValueError: It cannot be, or all numbers are taken.
    """
    _times[name] += 1
    relay = _relay(f"{name}#{_times[name]}", check_number(signum))
    error: RefusedError | None = None
    for _ in range(_TRIES):
        try:
            decorate = decorator_for(_number_for(relay.__qualname__))
            decorate(relay)
            host.noted()
        except RefusedError as exc:
            error = exc
        else:
            return
    raise ValueError(f"unable to add {name}: {error}") from error


def _relay(name: str, signum: int) -> Callable[[int], object]:
    # A coroutine, since those need no thread of the program that waits.
    async def relay(_own: int) -> None:
        try:
            await raise_signal(signum)
        except NoHandlerError as exc:
            sys.stderr.write(f"uwsgi: {name}: {exc}\n")

    relay.__qualname__ = name
    return relay


def _number_for(name: str) -> int:
    """Return the signal that is *name*'s, or a free one far from those people use."""
    taken = set(registry.by_number)
    for number, handler in _registered().items():
        if handler == name:
            return number
        taken.add(number)
    for number in reversed(range(SIGNALS)):
        if number not in taken:
            return number
    raise NoFreeSignalError(SIGNALS)


def _registered() -> dict[int, str]:
    """Return the name of each signal's handler, as the master knows them."""
    rows = ask("signals")["signals"]
    if not isinstance(rows, list):
        raise AssertionError("the master answers with a list")  # noqa: TRY004  (ours)
    return {
        int(str(row["signal"])): str(row["handler"])
        for row in rows
        if isinstance(row, dict)
    }


def is_registered(signum: int) -> bool:
    """Whether signal *signum* has a handler, in whatever process."""
    return signum in registry.by_number or signum in _registered()


def free_number() -> int:
    """Return the lowest number without a handler.

    Raises:
        NoFreeSignalError: There is none.
    """
    taken = {*registry.by_number, *_registered()}
    for number in range(SIGNALS):
        if number not in taken:
            return number
    raise NoFreeSignalError(SIGNALS)
