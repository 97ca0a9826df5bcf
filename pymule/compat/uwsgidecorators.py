"""The module ``uwsgidecorators``, as far as it is about mules.

``from uwsgidecorators import *`` also gives ``uwsgi``, ``sys``, ``partial``, ``Thread``
and ``pickle``, on which old programs rely.
"""

import pickle
import sys
from collections.abc import Callable
from functools import partial, update_wrapper, wraps
from threading import Thread
from typing import TypeVar

from pymule import handlers
from pymule.compat import sources, uwsgi
from pymule.compat.brains import (
    Brain,
    Function,
    farm_loop,
    mule_brain,
    mule_brainloop,
    mule_functions,
    mule_msg_dispatcher,
    mulemsg_loop,
    note_function,
    pack_call,
    postfork_chain,
    postfork_chain_hook,
)
from pymule.compat.host import host
from pymule.errors import NoFreeSignalError

__all__ = (
    "Thread",
    "cron",
    "erlang",
    "farm",
    "farm_loop",
    "filemon",
    "get_free_signal",
    "harakiri",
    "lock",
    "mstimer",
    "mule",
    "mule_brain",
    "mule_brainloop",
    "mule_functions",
    "mule_msg_dispatcher",
    "mulefunc",
    "muleloop",
    "mulemsg",
    "mulemsg_loop",
    "partial",
    "pickle",
    "postfork",
    "postfork_chain",
    "postfork_chain_hook",
    "rbtimer",
    "rpc",
    "signal",
    "spool",
    "spoolforever",
    "spoolraw",
    "sys",
    "thread",
    "timer",
    "uwsgi",
)

F = TypeVar("F", bound=Callable[..., object])

vars(uwsgi)["post_fork_hook"] = postfork_chain_hook


def get_free_signal() -> int:
    """Return the lowest number without a handler.

    Raises:
        Exception: There is none.
    """
    try:
        return sources.free_number()
    except NoFreeSignalError as exc:
        raise Exception("No free uwsgi signal available") from exc  # noqa: TRY002  (uWSGI's)


# Signals


def signal(num: int, *, target: str | bytes = "") -> Callable[[F], F]:
    """Run the decorated function when signal *num* is raised."""
    return _noting(handlers.signal(num, target=sources.read_target(target)))


def timer(
    secs: float, *, signum: int | None = None, target: str | bytes = ""
) -> Callable[[F], F]:
    """Run the decorated function every so many seconds."""
    where = sources.read_target(target)
    return _noting(handlers.timer(secs, signum=signum, target=where))


def mstimer(
    msecs: float, *, signum: int | None = None, target: str | bytes = ""
) -> Callable[[F], F]:
    """Run the decorated function every so many milliseconds."""
    return timer(msecs / 1000, signum=signum, target=target)


def rbtimer(
    secs: float, *, signum: int | None = None, target: str | bytes = ""
) -> Callable[[F], F]:
    """Run the decorated function every so many seconds."""
    return timer(secs, signum=signum, target=target)


def cron(
    minute: int,
    hour: int,
    day: int,
    month: int,
    dayweek: int,
    *,
    signum: int | None = None,
    target: str | bytes = "",
) -> Callable[[F], F]:
    """Run the decorated function at the minutes that match; -1 is any, -n every n."""
    where = sources.read_target(target)
    fields = (minute, hour, day, month, dayweek)
    return _noting(handlers.cron(*fields, signum=signum, target=where))


def filemon(
    fsobj: str, *, signum: int | None = None, target: str | bytes = ""
) -> Callable[[F], F]:
    """Run the decorated function when a file, or an entry of a directory, changes."""
    where = sources.read_target(target)
    return _noting(handlers.filemon(fsobj, signum=signum, target=where))


def _noting(decorate: sources.Decorator) -> Callable[[F], F]:
    def decorated(function: F) -> F:
        sources.note(decorate, function)
        return function

    return decorated


# Messages


def mulefunc(
    f: Function | int | str | bytes,
) -> Callable[..., object]:
    """Send calls of the decorated function to a mule: any, number N, or a farm's.

    ``@mulefunc``, ``@mulefunc(1)`` and ``@mulefunc("farm")``. The call returns
    ``None``; the plain function is in ``mule_functions``.
    """
    if callable(f):
        return _sender(0, f)
    return partial(_sender, f)


def _sender(target: int | str | bytes, function: Function) -> Callable[..., None]:
    name = note_function(function)

    def send(*args: object, **kwargs: object) -> None:
        uwsgi.mule_msg(pack_call(name, args, kwargs), target)

    return update_wrapper(send, function)


def mule(num: int) -> Callable[[Brain], None]:
    """Run the decorated function in mule *num*, once it has loaded the application."""
    return _brain(mule_brain, num)


def muleloop(num: int) -> Callable[[Brain], None]:
    """Run the decorated function in mule *num*, again and again."""
    return _brain(mule_brainloop, num)


def mulemsg(num: int) -> Callable[[Function], None]:
    """Run the decorated function in mule *num* for each message."""
    return _brain(mulemsg_loop, num)


def _brain(kind: type[mule_brain], num: int) -> Callable[[Function], None]:
    if isinstance(num, bool) or not isinstance(num, int):
        raise TypeError(
            f"{num!r} is no number of a mule; a function that is to run in whatever"
            " mule is decorated with @mulefunc"
        )
    return lambda function: postfork_chain.append(kind(function, num))


def farm(name: str | bytes) -> Callable[[Function], None]:
    """Run the decorated function in the mules of a farm for each of its messages."""
    return lambda function: postfork_chain.append(farm_loop(function, name))


# Others


def postfork(f: Brain | int) -> Callable[..., object]:
    """Run the decorated function in each mule, once it has loaded the application.

    ``@postfork(N)`` is for worker N, which is a process that nobody forks here.
    """
    if callable(f):
        postfork_chain.append(f)
        return f
    return partial(_postfork_in, f)


def _postfork_in(worker: int, function: F) -> F:
    def run() -> None:
        if worker in (0, host.worker):
            function()

    postfork_chain.append(run)
    return function


def thread(f: F) -> Callable[..., F]:
    """Let a call of the decorated function start a thread, and return the function."""

    @wraps(f)
    def start(*args: object) -> F:
        Thread(target=f, args=args, daemon=True).start()
        return f

    return start


def lock(f: Callable[..., object]) -> Callable[..., object]:
    """Hold lock 0 while the decorated function runs."""

    @wraps(f)
    def locked(*args: object, **kwargs: object) -> object:
        uwsgi.lock()
        try:
            return f(*args, **kwargs)
        finally:
            uwsgi.unlock()

    return locked


def harakiri(seconds: int) -> Callable[[Function], Function]:
    """End the process if the decorated function takes longer than *seconds*."""

    def decorate(function: Function) -> Function:
        @wraps(function)
        def limited(*args: object, **kwargs: object) -> object:
            uwsgi.set_user_harakiri(seconds)
            try:
                return function(*args, **kwargs)
            finally:
                uwsgi.set_user_harakiri(0)

        return limited

    return decorate


# What stays with uWSGI


def _refuse(name: str, advice: str) -> Callable[..., object]:
    def refuse(*_args: object, **_kwargs: object) -> object:
        raise NotImplementedError(f"@{name} is not part of pymule: {advice}")

    return refuse


spool = _refuse("spool", "use @mulefunc")
spoolforever = _refuse("spoolforever", "use @mulefunc with @timer")
spoolraw = _refuse("spoolraw", "use @mulefunc")
rpc = _refuse("rpc", "use @mulefunc, or a service of your own")
erlang = _refuse("erlang", "use a service of your own")
