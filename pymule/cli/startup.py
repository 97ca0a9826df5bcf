"""From checked settings to a master that serves, and to the status it leaves.

The order: descriptors, log, umask, socket, then what the process has to be before its
first mule (subreaper, limits, title), then the loop. Only this module of the commands
loads the master, so that ``--check`` and ``--help`` do not wait for it.
"""

import asyncio
import gc
import logging
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

import uvloop
from setproctitle import setproctitle

from pymule.cli.exits import ExitCode, exit_code_of
from pymule.config import Settings, group_id
from pymule.master.daemon import Master
from pymule.master.door import check_descriptors, warn_of_descriptors
from pymule.master.listener import SocketClaim
from pymule.master.logs import JsonFormatter, LogSink, TextFormatter, log
from pymule.master.notify import Notifier, listen_fds, watchdog_interval
from pymule.master.plan import Plan, make_plan
from pymule.master.spawner import become_subreaper
from pymule.master.zones import zone_of

__all__ = ("LoadSettings", "serve")

LoadSettings = Callable[[], Settings]
"""Reads and checks the configuration again; raises ConfigError."""

_LOGGER: Final = logging.getLogger("pymule.master")
# What our own code and the loop under it have to say.
_LOGGED: Final = ("pymule", "asyncio")


def serve(
    settings: Settings,
    load_settings: LoadSettings,
    *,
    title: str,
    is_uvloop: bool,
) -> ExitCode:
    """Be the daemon until it is stopped; return how it ended.

    What keeps it from starting, and what breaks it later, is logged, with a traceback
    only at level debug.

    Args:
        settings: What to be at first.
        load_settings: For reloads.
        title: What ps(1) shows.
        is_uvloop: Run on uvloop, not on asyncio's own loop.
    """
    with _logging(settings) as sink:
        try:
            return _serve(settings, load_settings, sink, title, is_uvloop=is_uvloop)
        except Exception as exc:  # noqa: BLE001  (the last place that can tell of it)
            code = exit_code_of(exc)
            trace = exc if _LOGGER.isEnabledFor(logging.DEBUG) else None
            error = str(exc) or repr(exc)
            if code is ExitCode.INTERNAL:
                error = f"{type(exc).__name__}: {exc}"
            log(
                _LOGGER,
                logging.CRITICAL,
                "pymuled failed",
                exc=trace,
                error=error,
                exit=int(code),
            )
            return code


@contextmanager
def _logging(settings: Settings) -> Iterator[LogSink]:
    """Send the log to stderr; all of it is written when the context ends."""
    is_json = settings.log_format == "json"
    sink = LogSink(sys.stderr, JsonFormatter() if is_json else TextFormatter())
    for name in _LOGGED:
        logger = logging.getLogger(name)
        logger.setLevel(settings.log_level.upper())
        logger.propagate = False
        logger.addHandler(sink)
    try:
        yield sink
    finally:
        for name in _LOGGED:
            logging.getLogger(name).removeHandler(sink)
        sink.close()


def _serve(
    settings: Settings,
    load_settings: LoadSettings,
    sink: LogSink,
    title: str,
    *,
    is_uvloop: bool,
) -> ExitCode:
    _may_read_its_own_files()
    with closing(_claim(settings)) as claim:
        become_subreaper()
        _allow_all_descriptors()
        watchdog_s = watchdog_interval(os.environ, os.getpid())
        notifier = Notifier.from_environ(os.environ)
        environ = dict(os.environ)
        setproctitle(title)
        # It reads files, which must not happen on the loop; who needs it is told.
        with suppress(ValueError):
            zone_of(None)

        def load_plan() -> Plan:
            return _plan(load_settings(), claim, environ)

        async def main() -> bool:
            plan = _plan(settings, claim, environ)
            warn_of_descriptors(plan)
            master = Master(
                plan,
                claim,
                load_plan,
                sink=sink,
                notifier=notifier,
                watchdog_s=watchdog_s,
            )
            try:
                return await master.serve()
            finally:
                _ignore_signals(asyncio.get_running_loop())

        # What the imports made is no garbage. To look for some in it, again and again,
        # takes 25 ms each time.
        gc.collect()
        gc.freeze()
        factory = uvloop.new_event_loop if is_uvloop else None
        with asyncio.Runner(loop_factory=factory) as runner:
            return ExitCode.OK if runner.run(main()) else ExitCode.UNCLEAN


def _claim(settings: Settings) -> SocketClaim:
    """Return the socket that systemd gave us, or else one of our own."""
    given = listen_fds(os.environ, os.getpid())
    for sock in given[1:]:
        log(_LOGGER, logging.WARNING, "socket not used", fd=sock.fileno())
        sock.close()
    if given:
        return SocketClaim.adopt(given[0])
    group = settings.socket_group
    gid = None if group is None else group_id(group)
    return SocketClaim.open(settings.socket, settings.socket_mode, gid)


def _plan(settings: Settings, claim: SocketClaim, environ: Mapping[str, str]) -> Plan:
    # Mules are told where the socket is, which may not be where the file says: it was
    # changed in the file since the start, or systemd chose the place.
    plan = make_plan(settings, environ, Path(claim.path))
    check_descriptors(plan)
    return plan


def _ignore_signals(loop: asyncio.AbstractEventLoop) -> None:
    """Let nobody who is impatient end the process while it only has to exit.

    A closing loop gives the signals back to the kernel, whose way of handling them
    would take the place of the exit status.
    """
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        loop.remove_signal_handler(signum)
        signal.signal(signum, signal.SIG_IGN)


def _may_read_its_own_files() -> None:
    """Leave the owner's part out of the umask.

    The next start, and SQLite, could not open what was made without it.
    """
    os.umask(os.umask(0o077) & 0o077)


def _allow_all_descriptors() -> None:
    """Take as many descriptors as are allowed; each client and mule needs some."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # A kernel limit below the hard one may refuse; then it stays as it was.
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
