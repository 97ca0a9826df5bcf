"""Files and directories that the master watches for others.

One thread does everything that touches a disk. It waits in watchfiles for the kernel
to say that something happened, then looks at what is monitored, and tells the loop
what differs. watchfiles may lose an event that comes while it hands over others, and
nothing watches while watches are changed; the look after each wake-up finds both.

Without inotify (a table of the kernel is full) the thread looks once a second instead.
"""

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import Final, Literal, Protocol

from pymule.master.logs import log
from pymule.master.look import Look, look_at
from pymule.sansio.watch import (
    Changes,
    Monitor,
    Scan,
    advice,
    compare,
    is_missed,
    is_stale,
    report,
)

__all__ = ("FileMonitors", "MakeWatcher", "OnChanged", "Watcher")

_LOGGER: Final = logging.getLogger("pymule.master")

# watchfiles looks for events at each step and hands them over when a step brought
# none: 10 wake-ups a second while idle, and 100 to 200 ms from a change to its report.
_STEP_MS: Final = 100
# A stream of changes is reported at least this often.
_DEBOUNCE_MS: Final = 100
_POLL_S: Final = 1.0
# Polls until the kernel is asked again.
_POLLS: Final = 60
# How often watches are made anew because directories moved meanwhile.
_ROUNDS: Final = 5
# The thread shares the interpreter with the loop: it pauses three times as long as a
# look took, at most so many seconds.
_REST: Final = 3
# A look at a file system that hangs may take for ever; nobody waits longer for it.
_PATIENCE_S: Final = 2.0
_MAX_REST_S: Final = 1.0

OnChanged = Callable[[str, list[str], bool], None]
"""Called on the loop with the key, the paths that changed, and whether those are all.

A change may be told twice, never not at all.
"""

Event = tuple[int, str]


class Watcher(Protocol):
    """What watchfiles' RustNotify offers, as far as it is used."""

    def watch(
        self,
        debounce_ms: int,
        step_ms: int,
        timeout_ms: int,
        stop_event: threading.Event | None,
    ) -> set[Event] | Literal["signal", "stop", "timeout"]:
        """Wait for events."""

    def close(self) -> None:
        """Watch no more."""


MakeWatcher = Callable[[list[str]], Watcher]
"""Watches directories, not what is below them.

Raises FileNotFoundError if one is gone, another OSError or a RuntimeError if the
kernel refuses.
"""


class FileMonitors:
    """Tell *on_changed* what happens to paths.

    Args:
        loop: asyncio's or uvloop's.
        on_changed: Called on the loop.
        make_watcher: Called in the thread; watchfiles is imported there, at the first.
        poll_s: Seconds between two looks when the kernel does not help.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_changed: OnChanged,
        *,
        make_watcher: MakeWatcher | None = None,
        poll_s: float = _POLL_S,
    ) -> None:
        self._loop = loop
        self._on_changed = on_changed
        self._make_watcher = make_watcher or _watch_by_kernel
        self._poll_s = poll_s
        self._monitors: dict[str, Monitor] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._is_closing = False
        self._version = 0
        self._watched_version = 0
        self._settled: list[tuple[int, asyncio.Future[None]]] = []
        self._ended: asyncio.Future[None] | None = None

    def add(self, key: str, path: str, *, recursive: bool) -> None:
        """Monitor *path* as *key*, in place of what the key meant before.

        Args:
            key: What the change is told with.
            path: Absolute; need not exist.
            recursive: A directory with all below it, not with its children only.
        """
        self._change({key: Monitor(key, path, recursive)})
        if self._ended is None:
            self._ended = self._loop.create_future()
            thread = _Thread(self, self._make_watcher, self._poll_s)
            threading.Thread(
                target=thread.run, name="pymule-filemon", daemon=True
            ).start()

    def remove(self, key: str) -> None:
        """Monitor the path of *key* no more; it is told nothing from here on."""
        if key in self._monitors:
            self._change({key: None})

    def _change(self, changes: dict[str, Monitor | None]) -> None:
        with self._lock:
            for key, monitor in changes.items():
                self._monitors.pop(key, None)
                if monitor is not None:
                    self._monitors[key] = monitor
            self._version += 1
        self._wake.set()

    async def settled(self) -> None:
        """Wait until everything added so far is watched, or a fault is logged.

        Not for ever: a look at a file system that hangs holds nobody else up.

        Cancelling is safe: nothing else waits for it.
        """
        if self._ended is None or self._ended.done():
            return
        if self._watched_version == self._version:
            return
        future: asyncio.Future[None] = self._loop.create_future()
        self._settled.append((self._version, future))
        await asyncio.wait({future}, timeout=_PATIENCE_S)

    async def close(self) -> None:
        """End the thread, and tell nothing more.

        Cancelling is safe: the thread ends all the same.
        """
        self._is_closing = True
        self._wake.set()
        if self._ended is not None:
            await asyncio.wait({self._ended}, timeout=_PATIENCE_S)

    # Called by the thread

    def wanted(self) -> tuple[int, list[Monitor]]:
        """Return what to watch, and which version of it that is."""
        with self._lock:
            return self._version, list(self._monitors.values())

    @property
    def wake(self) -> threading.Event:
        """Set when there is something else to do than to watch."""
        return self._wake

    @property
    def is_closing(self) -> bool:
        """Whether the thread is to end."""
        return self._is_closing

    def tell(self, version: int, changes: list[tuple[Monitor, Changes]]) -> None:
        """Hand over what a look found, once *version* is watched."""
        reports = [
            (monitor, *report(monitor.path, change)) for monitor, change in changes
        ]
        self.call(self._tell, version, reports)

    def end(self) -> None:
        """Say that the thread touches nothing more."""
        self.call(self._end)

    def call(self, act: Callable[..., None], *args: object) -> None:
        """Do *act* on the loop; who follows the log has a connection there."""
        # The loop may be closed while its thread still looks.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(act, *args)

    # On the loop again

    def _tell(
        self, version: int, reports: list[tuple[Monitor, list[str], bool]]
    ) -> None:
        self._watched_version = version
        waiting, self._settled = self._settled, []
        for wanted, future in waiting:
            if wanted > version:
                self._settled.append((wanted, future))
            elif not future.done():
                future.set_result(None)
        for monitor, paths, is_complete in reports:
            # Removed, or replaced, since the thread looked.
            if self._monitors.get(monitor.key) is monitor and not self._is_closing:
                self._on_changed(monitor.key, paths, is_complete)

    def _end(self) -> None:
        for _, future in self._settled:
            if not future.done():
                future.set_result(None)
        self._settled = []
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)


class _Thread:
    """The thread's own: what it watches, and what it saw last."""

    def __init__(
        self, owner: FileMonitors, make_watcher: MakeWatcher, poll_s: float
    ) -> None:
        self._owner = owner
        self._make_watcher = make_watcher
        self._poll_s = poll_s
        self._watcher: Watcher | None = None
        # None: to be made anew.
        self._watched: dict[str, tuple[int, int]] | None = None
        self._known: dict[str, tuple[Monitor, Scan]] = {}
        # Not told yet: a fault on the way costs none.
        self._changes: dict[str, Changes] = {}
        self._told_version = 0
        # The last look saw what no event had said.
        self._has_missed = False
        # Not to be said twice.
        self._refused: set[str] = set()
        self._is_polling = False
        self._polls = 0

    def run(self) -> None:
        """Watch until the owner closes."""
        while not self._owner.is_closing:
            try:
                self._turn(self._wait())
            except Exception as exc:  # noqa: BLE001  (a watch must not die of one path)
                self._say_failed(exc)
                self._watched = None
                # Nobody waits for what may never come.
                self._owner.tell(self._owner.wanted()[0], [])
                self._owner.wake.wait(self._poll_s)
        self._close_watcher()
        self._owner.end()

    def _wait(self) -> set[Event]:
        """Wait for events, for the owner, or for the next poll."""
        wake = self._owner.wake
        if self._watched is None:
            # At the first turn the owner has set it.
            wake.wait(_STEP_MS / 1000)
            return set()
        if self._watcher is not None:
            # A name that is not UTF-8 makes it fail, now and from then on.
            with contextlib.suppress(RuntimeError):
                events = self._watcher.watch(_DEBOUNCE_MS, _STEP_MS, 0, wake)
                if isinstance(events, set):
                    return events
            # It has dropped events unseen; one may have said that a watch is dead.
            self._watched = None
            return set()
        wake.wait(self._poll_s if self._known else None)
        return set()

    def _turn(self, events: set[Event]) -> None:
        """Look, watch what is there now, and tell what changed."""
        began = time.monotonic()
        self._owner.wake.clear()
        version, monitors = self._owner.wanted()
        if self._watched is not None and is_stale(events, self._watched):
            self._watched = None
        look = self._look(monitors, events)
        if self._has_missed:
            self._watched = None
        for _ in range(_ROUNDS):
            if not self._is_to_be_armed(look):
                break
            events = self._arm(look)
            look = self._look(monitors, events)
        changes, self._changes = self._changes, {}
        found = [
            (self._known[key][0], change)
            for key, change in changes.items()
            if key in self._known
        ]
        # What concerns nobody does not wake the loop.
        if found or version != self._told_version:
            self._owner.tell(version, found)
            self._told_version = version
        took = time.monotonic() - began
        if not self._owner.is_closing and took * _REST * 1000 > _STEP_MS:
            self._owner.wake.wait(min(took * _REST, _MAX_REST_S))

    def _look(self, monitors: list[Monitor], events: set[Event]) -> Look:
        """Look at everything; note what differs from the last look."""
        changes = self._changes
        look = look_at(monitors)
        for _, path in events:
            for monitor, entry in look.interest.concerned(path):
                _add(changes, monitor.key, Changes({entry}))
        self._has_missed = False
        for key, (monitor, scan) in look.scans.items():
            known = self._known.get(key)
            if known is not None and known[0] is monitor:
                change = compare(known[1], scan)
                told = changes[key].entries if key in changes else set()
                self._has_missed |= is_missed(change, told)
                _add(changes, key, change)
        self._known = look.scans
        return look

    def _is_to_be_armed(self, look: Look) -> bool:
        if self._is_polling:
            self._polls += 1
            if self._polls >= _POLLS:
                self._watched = None
        return self._watched != look.watched

    def _arm(self, look: Look) -> set[Event]:
        """Watch the directories of *look*; return the last events of the old ones."""
        fresh: Watcher | None = None
        try:
            # Before the old one is closed, so that seldom nobody watches.
            if look.watched:
                fresh = self._make_watcher(self._watchable(look.watched))
        except FileNotFoundError:
            # The next look shows what is left.
            self._watched = None
            return set()
        except (OSError, RuntimeError) as exc:
            if self._watcher is not None:
                # Alone the new one may fit; the next round tries it.
                self._watched = None
                return self._close_watcher()
            self._say_polling(exc)
        else:
            self._say_watching()
        events = self._close_watcher()
        self._watcher = fresh
        self._watched = look.watched
        return events

    def _watchable(self, directories: Iterable[str]) -> list[str]:
        """Return those that the library takes and the kernel lets us read."""
        taken = [path for path in directories if _is_text(path)]
        refused = {path for path in taken if not _is_readable(path)}
        for path in sorted(refused - self._refused):
            self._say_refused(path)
        self._refused = refused
        return [path for path in taken if path not in refused]

    def _close_watcher(self) -> set[Event]:
        watcher, self._watcher = self._watcher, None
        if watcher is None:
            return set()
        try:
            events = watcher.watch(1, 1, 1, None)
        except RuntimeError:
            return set()
        finally:
            watcher.close()
        return events if isinstance(events, set) else set()

    def _say_polling(self, error: Exception) -> None:
        self._polls = 0
        if self._is_polling:
            return
        self._is_polling = True
        limit, remedy = advice(str(error))
        self._owner.call(
            lambda: log(
                _LOGGER,
                logging.WARNING,
                "file monitors poll",
                error=error,
                limit=limit,
                remedy=remedy,
                every_s=self._poll_s,
            )
        )

    def _say_watching(self) -> None:
        if self._is_polling:
            self._is_polling = False
            self._owner.call(
                lambda: log(_LOGGER, logging.INFO, "file monitors poll no more")
            )

    def _say_failed(self, error: Exception) -> None:
        self._owner.call(lambda: log(_LOGGER, logging.ERROR, "task failed", exc=error))

    def _say_refused(self, path: str) -> None:
        self._owner.call(
            lambda: log(_LOGGER, logging.WARNING, "directory not watched", path=path)
        )


def _is_text(path: str) -> bool:
    """Whether the library can take it: it knows paths in UTF-8 only."""
    return path.isprintable() or path.encode(errors="replace").decode() == path


def _is_readable(path: str) -> bool:
    # One that is gone is for the library to find: this is about permission alone.
    return not os.path.lexists(path) or os.access(path, os.R_OK, effective_ids=True)


def _add(changes: dict[str, Changes], key: str, change: Changes) -> None:
    if change.entries:
        total = changes.setdefault(key, Changes())
        total.entries |= change.entries
        total.is_complete &= change.is_complete


def _watch_by_kernel(directories: list[str]) -> Watcher:
    # Here, so that a master without file monitors does not pay for it.
    from watchfiles._rust_notify import RustNotify  # noqa: PLC0415

    # Not ignore_permission_denied, which ignores a full table of the kernel as well.
    return RustNotify(directories, False, False, 0, False, False)  # noqa: FBT003
