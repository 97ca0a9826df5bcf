"""Reloads by touch: a change of one of some paths is a SIGHUP."""

import logging
from collections.abc import Callable, Iterable
from typing import Final

from pymule.master.filemon import FileMonitors
from pymule.master.logs import log

__all__ = ("TouchReload",)

_LOGGER: Final = logging.getLogger("pymule.master")

_PREFIX: Final = "touch_reload:"


class TouchReload:
    """The file monitors of ``touch_reload``.

    Args:
        monitors: Which others use as well, under other keys.
        is_reloading: Whether a reload is under way.
        reload: Begins one.
    """

    def __init__(
        self,
        monitors: FileMonitors,
        is_reloading: Callable[[], bool],
        reload: Callable[[], None],
    ) -> None:
        self._monitors = monitors
        self._is_reloading = is_reloading
        self._reload = reload
        self._paths: set[str] = set()
        self._is_due = False

    def watch(self, paths: Iterable[str]) -> None:
        """Watch *paths*, and no others any more."""
        wanted = set(paths)
        for path in sorted(self._paths - wanted):
            self._monitors.remove(_PREFIX + path)
        for path in sorted(wanted - self._paths):
            self._monitors.add(_PREFIX + path, path, recursive=False)
        self._paths = wanted

    def changed(self, key: str, paths: list[str]) -> bool:
        """Reload if *key* is one of ours; tell whether it is."""
        if not key.startswith(_PREFIX):
            return False
        log(_LOGGER, logging.INFO, "touched", path=paths[0])
        self.reload()
        return True

    def reload(self) -> None:
        """Reload, and once more after a reload that is under way.

        That one may have read the old files.
        """
        if self._is_reloading():
            self._is_due = True
        else:
            self._reload()

    def reload_ended(self) -> None:
        """Begin the reload that was due after the last one."""
        if self._is_due:
            self._is_due = False
            self._reload()
