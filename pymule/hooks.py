"""What an application has done in each mule before its program begins.

A decorator only notes the function; any process but a mule never calls it. So an
application imports the same module in a mule, in a web process and in a test.
"""

import inspect
import warnings
from collections.abc import Callable
from typing import Final, TypeVar

__all__ = ("Hooks", "after_fork", "hooks")

F = TypeVar("F", bound=Callable[[], object])


class Hooks:
    """Functions to call once in this process, in the order in which they came."""

    def __init__(self) -> None:
        self._functions: list[Callable[[], object]] = []
        self._have_run = False

    def add(self, function: Callable[[], object]) -> None:
        """Note *function*; warn if it is too late."""
        if self._have_run:
            name = getattr(function, "__qualname__", repr(function))
            warnings.warn(
                f"after_fork hook {name!r} is not called, because the program of this"
                " mule has begun; preload its module",
                RuntimeWarning,
                stacklevel=3,
            )
            return
        self._functions.append(function)

    def run(self) -> None:
        """Call them; what one raises is the caller's, and those after it do not run."""
        self._have_run = True
        for function in self._functions:
            function()


hooks: Final = Hooks()
"""Of this process."""


def after_fork(function: F) -> F:
    """Call the decorated function in each mule, before its program begins.

    For what processes must not share, though they share what was imported: connections,
    threads, files, random numbers of libraries that keep their own. It takes no
    arguments. When it is called, the mule has imported what ``preload`` names and the
    module of its program, or the application, and no event loop runs in its thread. So
    it is however the mule was started. If it raises, the mule does not start.

    A script is a program that has begun: what it imports itself comes too late, unless
    it is in ``preload``.

    Raises:
        TypeError: It is an ``async def``, or cannot be called.
    """
    if inspect.iscoroutinefunction(function) or not callable(function):
        raise TypeError(
            f"found {function!r}; allowed: a function that is no 'async def'"
        )
    hooks.add(function)
    return function
