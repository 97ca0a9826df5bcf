"""The module ``uwsgi`` as far as it is about mules: old names, over new ones.

Return values and exceptions are those that programs test for: ``False`` for what was
not sent, ``b""`` after a timeout, ``None`` where uWSGI has no ``False``. What was
lost, cut or hidden without a word is not: see ``docs/uwsgi.md``, which has every name.
"""

import faulthandler
import os
import signal as unix_signal
import socket
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Final

from pymule import handlers
from pymule.client import sync
from pymule.compat import hooks, sources
from pymule.compat.host import ask, host
from pymule.compat.locks import is_locked, lock, unlock
from pymule.compat.options import read_options
from pymule.compat.refused import refusals
from pymule.errors import (
    ConnectionLostError,
    NoHandlerError,
    RefusedError,
    UnknownTargetError,
)
from pymule.handlers import Function
from pymule.mule.process import runtime
from pymule.sansio.signal_words import check_number
from pymule.version import VERSION

__all__ = (
    "SPOOL_IGNORE",
    "SPOOL_OK",
    "SPOOL_RETRY",
    "add_cron",
    "add_file_monitor",
    "add_ms_timer",
    "add_rb_timer",
    "add_timer",
    "buffer_size",
    "cores",
    "farm_get_msg",
    "farm_msg",
    "hostname",
    "i_am_the_spooler",
    "in_farm",
    "install_mule_msg_hook",
    "is_locked",
    "lock",
    "log",
    "masterpid",
    "micros",
    "mode",
    "mule_get_msg",
    "mule_id",
    "mule_msg",
    "mule_msg_extra_hooks",
    "mule_msg_recv_size",
    "numproc",
    "pidfile",
    "ready",
    "register_signal",
    "reload",
    "set_user_harakiri",
    "setprocname",
    "signal",
    "signal_received",
    "signal_registered",
    "signal_wait",
    "spoolers",
    "started_on",
    "stop",
    "unlock",
    "version",
    "version_info",
    "worker_id",
)

version: Final = f"2.1+pymule{VERSION}".encode()
version_info: Final = (2, 1, 0, 0, b"pymule")
hostname: Final = socket.gethostname().encode()
mode: Final = b""
pidfile: Final = b""
numproc: Final = 1
cores: Final = 1
buffer_size: Final = 4096
spoolers: Final[tuple[bytes, ...]] = ()
started_on: Final = int(time.time())
mule_msg_extra_hooks: Final = hooks.extra_hooks
SPOOL_OK: Final = -2
SPOOL_RETRY: Final = -1
SPOOL_IGNORE: Final = 0

_NOT_IN_MULE: Final = "you can receive mule messages only in a mule !!!"
# A poll must outlast the way of a message from the master, or it would never see one.
_POLL_S: Final = 0.02
_last_signal = -1

# Messages


def mule_msg(
    message: str | bytes | bytearray | memoryview, target: int | str | bytes = 0, /
) -> bool:
    """Send *message* to any mule, to mule number *target*, or to a farm by its name.

    Returns:
        False if it was not sent: refused by a full queue, too big, or no master.

    Raises:
        ValueError: There is no such mule or farm.
        TypeError: *message* is neither text nor bytes.
    """
    body = _body(message)
    try:
        if isinstance(target, str | bytes):
            sync.farm_msg(_text(target), body)
        elif isinstance(target, int):
            sync.mule_msg(body, target or None)
        else:
            raise ValueError("invalid mule")  # noqa: TRY004  (uWSGI's)
    except UnknownTargetError as exc:
        raise ValueError(_unknown(target)) from exc
    except (RefusedError, ConnectionLostError) as exc:
        log(f"mule_msg: not sent: {exc}")
        return False
    return True


def _body(message: str | bytes | bytearray | memoryview) -> bytes:
    if isinstance(message, str):
        return message.encode()
    if isinstance(message, bytes | bytearray | memoryview):
        return bytes(message)
    raise TypeError(f"a message is text or bytes, not {type(message).__name__}")


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _unknown(target: int | str | bytes) -> str:
    if isinstance(target, str | bytes):
        return f"unknown farm: {_text(target)!r}"
    return f"invalid mule number: {target}" if target else "no mule configured"


def mule_get_msg(
    signals: object = True,  # noqa: FBT002  (uWSGI's, as are the next)
    farms: object = True,  # noqa: FBT002
    buffer_size: int = 65536,
    timeout: float = -1,
) -> bytes:
    """Return the next message for this mule; run handlers of signals meanwhile.

    Args:
        signals: Run handlers; off only by ``None`` or ``False``.
        farms: Also take what is for the farms of this mule; off likewise.
        buffer_size: Of no effect: no message is cut.
        timeout: Seconds to wait; negative is for ever.

    Returns:
        ``b""`` after *timeout*.

    Raises:
        ValueError: This process is not a mule.
    """
    del buffer_size
    if not host.mule_id:
        raise ValueError(_NOT_IN_MULE)
    try:
        return runtime("mule_get_msg").get_blocking(
            not _is_off(farms),
            None if timeout < 0 else max(timeout, _POLL_S),
            signals=not _is_off(signals),
        )
    except TimeoutError:
        return b""


def _is_off(flag: object) -> bool:
    return flag is None or flag is False


def farm_msg(
    farm: str | bytes, message: str | bytes | bytearray | memoryview, /
) -> None:
    """Send *message* to one mule of *farm*; what goes wrong is in the log only."""
    body = _body(message)
    try:
        sync.farm_msg(_text(farm), body)
    except (RefusedError, ConnectionLostError, ValueError) as exc:
        log(f"farm_msg: not sent: {exc}")


def farm_get_msg() -> bytes:
    """Return the next message for a farm of this mule; without a farm, never return.

    Raises:
        ValueError: This process is not a mule.
    """
    if not host.mule_id:
        raise ValueError(_NOT_IN_MULE)
    here = runtime("farm_get_msg")
    while not host.farms:
        here.signals.run_one(None, None)
    return here.get_blocking(None, None)


def mule_msg_recv_size() -> int:
    """Return how long a message may be, in bytes."""
    return sync.default_client().message_limit


def install_mule_msg_hook(hook: Callable[[bytes], object], /) -> None:
    """Give the messages of a mule without a program to *hook*, too."""
    if not callable(hook):
        raise TypeError(f"{hook!r} is no hook; allowed: a function of one argument")
    mule_msg_extra_hooks.append(hook)
    hooks.hooks_changed()


# Identity


def mule_id() -> int:
    """Return the number of this mule; 0 outside of one."""
    return host.mule_id


def worker_id() -> int:
    """Return N of the target ``workerN``; 0 in a mule, or before a handler is noted."""
    return host.worker


def masterpid() -> int:
    """Return the process id of the master."""
    return os.getppid() if host.mule_id else int(str(ask("status")["pid"]))


def in_farm(name: str | bytes | None = None, /) -> bool | None:
    """Tell if this mule is in the farm, or in any; ``None`` if not."""
    is_in = bool(host.farms) if name is None else _text(name) in host.farms
    return is_in or None


def i_am_the_spooler() -> None:
    """There is none."""


def ready() -> bool:
    """Tell that signals can be raised: always, here."""
    return True


# Signals


def register_signal(
    signum: int, target: str | bytes, handler: Function, /, *_kind: object
) -> None:
    """Run *handler* when the signal is raised; in any process.

    Raises:
        ValueError: A number or a target that cannot be, or a conflict.
    """
    where = sources.read_target(target)
    sources.note(handlers.signal(signum, target=where), handler)


def signal(signum: int, remote: str | None = None, /) -> None:
    """Raise a signal; that it has no handler is in the log only.

    Raises:
        ValueError: The number is out of range.
    """
    if remote is not None:
        raise NotImplementedError(
            "uwsgi.signal to another machine is not part of pymule: send it a request"
        )
    try:
        sync.raise_signal(signum)
    except NoHandlerError as exc:
        log(f"signal: {exc}")


def signal_registered(signum: int, /) -> bool | None:
    """Tell if the signal has a handler, in whatever process; ``None`` if not."""
    return sources.is_registered(check_number(signum)) or None


def signal_wait(signum: int | None = None, /) -> bytes:
    """Run handlers until that of *signum*, or any, has run.

    Raises:
        ValueError: This process is not a mule.
    """
    global _last_signal  # noqa: PLW0603  (uWSGI's: one in a process)
    if not host.mule_id:
        raise ValueError("signal_wait: only a mule waits for signals")
    _last_signal = runtime("signal_wait").signals.wait_blocking(signum)
    return b""


def signal_received() -> int:
    """Return the signal for which ``signal_wait`` returned last; -1 before."""
    return _last_signal


# Timers and the like


def add_timer(signum: int, seconds: float, /) -> None:
    """Raise a signal every so many *seconds*; 0 is never."""
    if seconds:
        _add_endless(f"uwsgi.add_timer({signum}, {seconds})", signum, seconds)


def add_ms_timer(signum: int, milliseconds: float, /) -> None:
    """Raise a signal every so many *milliseconds*; 0 is never."""
    if milliseconds:
        name = f"uwsgi.add_ms_timer({signum}, {milliseconds})"
        _add_endless(name, signum, milliseconds / 1000)


def add_rb_timer(signum: int, seconds: float, iterations: int = 0, /) -> None:
    """Raise a signal every so many *seconds*, *iterations* times; 0 has no end.

    With 0 *seconds* and one iteration it is raised at once.

    Raises:
        ValueError: It would tick without a pause.
    """
    if not iterations:
        _add_endless(f"uwsgi.add_rb_timer({signum}, {seconds})", signum, seconds)
        return
    host.after_registration(
        lambda: sync.add_timer(signum, seconds, iterations=iterations)
    )


def _add_endless(name: str, signum: int, seconds: float) -> None:
    sources.add_source(
        name, signum, lambda number: handlers.timer(seconds, signum=number)
    )


def add_cron(  # noqa: PLR0917  (uWSGI's)
    signum: int, minute: int, hour: int, day: int, month: int, weekday: int, /
) -> bool:
    """Raise a signal at the minutes that match; -1 is any, -n every n.

    Raises:
        ValueError: No minute can match.
    """
    fields = (minute, hour, day, month, weekday)
    sources.add_source(
        f"uwsgi.add_cron({signum}, {fields})",
        signum,
        lambda number: handlers.cron(*fields, signum=number),
    )
    return True


def add_file_monitor(signum: int, path: str | bytes, /) -> None:
    """Raise a signal when the file, or an entry of the directory, changes."""
    text = os.fsdecode(path)
    sources.add_source(
        f"uwsgi.add_file_monitor({signum}, {text!r})",
        signum,
        lambda number: handlers.filemon(text, signum=number),
    )


# This process, and the daemon


def log(text: str | bytes, /) -> bool:
    """Write a line to the log."""
    line = text.decode(errors="replace") if isinstance(text, bytes) else text
    sys.stderr.write(f"{line}\n")
    return True


def set_user_harakiri(seconds: int, /) -> None:
    """End this process, with its stacks in the log, in *seconds*; 0 calls that off."""
    if seconds > 0:
        faulthandler.dump_traceback_later(seconds, exit=True)
    else:
        faulthandler.cancel_dump_traceback_later()


def setprocname(name: str, /) -> None:
    """Set what ps(1) shows of this process."""
    from setproctitle import setproctitle  # noqa: PLC0415  (few want it)

    setproctitle(name)


def micros() -> int:
    """Return the wall clock in microseconds."""
    return time.time_ns() // 1000


def reload() -> bool:
    """Ask the master to reload, as SIGHUP does."""
    os.kill(masterpid(), unix_signal.SIGHUP)
    return True


def stop() -> bool:
    """Ask the master to stop, as SIGTERM does."""
    os.kill(masterpid(), unix_signal.SIGTERM)
    return True


globals().update(refusals())


class _Uwsgi(ModuleType):
    """The module, which notices when a program assigns a hook."""

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name == "mule_msg_hook":
            hooks.hooks_changed()


sys.modules[__name__].__class__ = _Uwsgi


def __getattr__(name: str) -> object:
    """Ask the master for ``opt`` when it is first read (PEP 562)."""
    if name != "opt":
        raise AttributeError(f"module 'uwsgi' has no attribute {name!r}")
    value = globals()["opt"] = read_options()
    return value
