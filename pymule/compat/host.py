"""What this process is: a mule, or a client that may become a worker."""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from pymule.client import sync
from pymule.client.worker import start_worker
from pymule.errors import RefusedError
from pymule.handlers import registry
from pymule.sansio.verbs import JsonObject

__all__ = ("Host", "ask", "host")


@dataclass(slots=True, eq=False)
class Host:
    """This process."""

    # The ``mule`` object of WELCOME; known before the program is loaded.
    mule: JsonObject | None = None
    _worker: int = 0
    # Held while it becomes a worker; its first handler may be faster than its number.
    _starting: threading.RLock = field(default_factory=threading.RLock)
    # What must come after the handlers of a mule's module were registered.
    _deferred: list[Callable[[], object]] = field(default_factory=list)
    _has_begun: bool = False

    @property
    def mule_id(self) -> int:
        """The number of this mule; 0 in a client."""
        return 0 if self.mule is None else int(str(self.mule["id"]))

    @property
    def worker(self) -> int:
        """N in ``workerN``; 0 while this process is none."""
        with self._starting:
            return self._worker

    @property
    def farms(self) -> tuple[str, ...]:
        """The farms of this mule."""
        names = [] if self.mule is None else self.mule["farms"]
        return tuple(map(str, names)) if isinstance(names, list) else ()

    def after_registration(self, action: Callable[[], object]) -> None:
        """Run *action*; in a mule that is loading, once its handlers are there."""
        if self.mule is None or self._has_begun:
            action()
        else:
            self._deferred.append(action)

    def begin(self) -> None:
        """The handlers noted so far are registered, and later ones are at once."""
        self._has_begun = True
        deferred, self._deferred = self._deferred, []
        for action in deferred:
            action()

    def noted(self) -> None:
        """A handler was noted: make a client a worker.

        Raises:
            RefusedError: The master would not have it; it is forgotten.
            MasterUnavailableError: There is no master.
        """
        with self._starting:
            if self.mule is not None or self._worker:
                return
            try:
                self._worker = start_worker()
            except RefusedError:
                registry.remove(registry.handlers[-1])
                raise

    def forked(self) -> None:
        """A child has neither its parent's thread nor its connection."""
        # A thread of the parent may have held it at the fork.
        self._starting = threading.RLock()
        if self._worker:
            self._worker = 0
            registry.on_added = None


host: Final = Host()
"""Of this process."""

os.register_at_fork(after_in_child=host.forked)


def ask(method: str, **params: object) -> JsonObject:
    """Ask the master, over the blocking client of this process.

    Raises:
        RefusedError: The master said no.
        ConnectionLostError: It is not there, or went away before it answered.
    """
    return sync.default_client().call(method, **params)
