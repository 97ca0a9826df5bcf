"""The door of the master: who of those that connect is let in, and who is told why not.

Descriptors are kept back for what the daemon needs itself: a newcomer whose number is
among the last ones is refused, so that a mule that died can be started again however
many clients there are. As the kernel gives the lowest number that is free, no count is
needed, and a limit that is lowered while the daemon runs counts at once.
"""

import asyncio
import logging
import resource
import socket
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Final

from pymule.errors import ConfigError
from pymule.master.listener import Credentials, say_no
from pymule.master.logs import log
from pymule.master.plan import Plan
from pymule.master.roles import UserRole
from pymule.sansio.occupancy import SPARE_PLACES, Occupancy

__all__ = ("Door", "check_descriptors", "warn_of_descriptors")

_LOGGER: Final = logging.getLogger("pymule.master")

# Link and scoreboard, two each (the transport and the mapping have their own), stacks,
# pidfd, stdout and stderr; a forkserver has as many.
_FDS_OF_A_MULE: Final = 8
# Timers, the log, the configuration, file monitors, the journal, and who lingers.
_FDS_OF_THE_MASTER: Final = 48
# So long, in seconds, and so many that were refused may take to read why. It is the
# pause between two records of that, too.
_LINGER_S: Final = 1.0
_LINGERING: Final = 16


class Door:
    """Let in or refuse; count who is in.

    Args:
        plan: Returns what holds now; a reload changes it.
        own: Keeps a task that the master started until it is done.
    """

    def __init__(
        self,
        plan: Callable[[], Plan],
        own: Callable[[Coroutine[object, object, None]], object],
    ) -> None:
        self._plan = plan
        self._own = own
        self._places = Occupancy()
        self._lingering: deque[socket.socket] = deque()
        # Not logged yet.
        self._refused = 0
        self._last_reason = ""
        self._is_attending = False

    def admits(self, sock: socket.socket, who: Credentials) -> bool:
        """Give a newcomer a place, or say why not and take its socket."""
        reason = self._refusal(sock, who)
        if reason is None:
            self._places.take(who.uid, who.pid)
            return True
        self.refuse(sock, reason)
        return False

    def is_new(self, pid: int) -> bool:
        """Whether a process has no place."""
        return self._places.is_new(pid)

    def has_many(self, pid: int) -> bool:
        """Whether a process has more than one place."""
        return self._places.has_many(pid)

    def left(self, who: Credentials) -> None:
        """Somebody who had a place left."""
        self._places.leave(who.uid, who.pid)

    def _refusal(self, sock: socket.socket, who: Credentials) -> str | None:
        plan = self._plan()
        is_household = plan.access.role_of(who) is UserRole.ADMIN
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        # Where there are few, clients get some all the same.
        kept = min(_kept_descriptors(plan), limit // 4)
        if is_household and self._places.is_new(who.pid):
            # A command finds one, also while those who were refused linger, and after
            # clients took what a mule had that died.
            kept //= 2
        else:
            kept += min(SPARE_PLACES + _LINGERING, limit // 6)
        if sock.fileno() >= limit - kept:
            return f"the master has no descriptors left for clients; nofile is {limit}"
        return self._places.refusal(
            who.uid, who.pid, plan.max_clients, is_household=is_household
        )

    def dismisses(self, sock: socket.socket) -> bool:
        """Close *sock* without a word if many are being told why already; tell whether.

        For those who were told before: to say no takes longer than to accept them.
        """
        if len(self._lingering) < _LINGERING:
            return False
        sock.close()
        self._refused += 1
        return True

    def refuse(self, sock: socket.socket, reason: str) -> None:
        """Tell a newcomer why it is not let in, and take its socket."""
        say_no(sock, reason)
        self._lingering.append(sock)
        if len(self._lingering) > _LINGERING:
            self._lingering.popleft().close()
        self._refused += 1
        self._last_reason = reason
        if not self._is_attending:
            self._is_attending = True
            self._own(self._attend_refused())

    async def _attend_refused(self) -> None:
        """Log how many were refused, and let go of them; again while there are more."""
        try:
            while self._refused or self._lingering:
                self._log_refused()
                # Closed at once, a socket might be gone before its HELLO comes, and
                # then what it was told would be lost with it.
                old = len(self._lingering)
                await asyncio.sleep(_LINGER_S)
                for _ in range(min(old, len(self._lingering))):
                    self._lingering.popleft().close()
        finally:
            self._is_attending = False
            while self._lingering:
                self._lingering.popleft().close()

    def _log_refused(self) -> None:
        if self._refused:
            log(
                _LOGGER,
                logging.WARNING,
                "clients refused",
                count=self._refused,
                clients=self._places.taken,
                reason=self._last_reason,
            )
            self._refused = 0


def check_descriptors(plan: Plan) -> None:
    """Check that the mules of *plan* can all be there at the same time.

    Raises:
        ConfigError: They need more descriptors than the master may have.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _kept_descriptors(plan)
    if limit < needed:
        most = max(limit - _FDS_OF_THE_MASTER, 0) // _FDS_OF_A_MULE
        raise ConfigError(
            f"mule: {len(plan.mules)} mules need {needed} open files, and nofile is"
            f" {limit}, enough for {most}; allowed: fewer mules, or a higher hard limit"
            " (LimitNOFILE= of the service, ulimit -Hn)"
        )


def warn_of_descriptors(plan: Plan) -> None:
    """Log it if there are not as many descriptors as *plan* has clients and mules."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = plan.max_clients + SPARE_PLACES + _kept_descriptors(plan)
    if limit < needed:
        log(
            _LOGGER,
            logging.WARNING,
            "few descriptors",
            nofile=limit,
            needed=needed,
            max_clients=plan.max_clients,
            mules=len(plan.mules),
        )


def _kept_descriptors(plan: Plan) -> int:
    processes = len(plan.mules) + plan.forkserver_count
    return _FDS_OF_A_MULE * processes + _FDS_OF_THE_MASTER
