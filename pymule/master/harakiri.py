"""Mules that have a message in hand, or a handler running, for too long."""

import logging
import time
from collections.abc import Callable
from typing import Final

from pymule.master.generation import Generation, Process
from pymule.master.logs import log
from pymule.master.signals import Signals
from pymule.master.ticker import Deadline, Ticker
from pymule.sansio.link import LinkId
from pymule.sansio.router import Router

__all__ = ("HARAKIRI", "Harakiri")

_LOGGER: Final = logging.getLogger("pymule.master")

HARAKIRI: Final = "harakiri"
# How often a mule with a deadline for its messages is looked at while it has some, in
# seconds; a message whose instant was not noted may get that much longer.
_LOOK_S: Final = 1.0


class Harakiri:
    """Look at mules with a deadline while they have messages.

    Args:
        router: Knows which have.
        signals: Knows which run a handler.
        ticker: Has the deadlines.
        on_hung: Called with a mule that exceeds its own, and the time.
    """

    def __init__(
        self,
        router: Router,
        signals: Signals,
        ticker: Ticker[Deadline],
        on_hung: Callable[[Generation, float], None],
    ) -> None:
        self._router = router
        self._signals = signals
        self._ticker = ticker
        self._on_hung = on_hung

    def watch(self, generation: Generation, link: LinkId) -> None:
        """The mule was given a message or a signal."""
        limit = generation.spec.harakiri_s
        if limit is None:
            return
        key = (HARAKIRI, link)
        if key not in self._ticker:
            self._ticker.arm(key, time.monotonic() + min(limit, _LOOK_S))

    def check(self, generation: Generation, running: Process, now: float) -> None:
        """Its deadline has come, or the time to look at it."""
        link = running.link
        limit = generation.spec.harakiri_s
        handler = self._signals.running_since(link)
        if limit is None or (handler is None and self._router.is_idle(link)):
            return
        since = min(running.held_since(now), default=now)
        if handler is not None:
            since = min(since, handler[0])
        if since + limit > now:
            look_at = min(since + limit, now + _LOOK_S)
            self._ticker.arm((HARAKIRI, link), look_at)
            return
        log(
            _LOGGER,
            logging.ERROR,
            "harakiri",
            mule=generation.spec.id,
            pid=running.process.pid,
            in_hand_s=round(now - since, 3),
            harakiri_s=limit,
            signal=None if handler is None or since < handler[0] else handler[1],
        )
        self._on_hung(generation, now)

    def forget(self, link: LinkId) -> None:
        """The process is gone."""
        self._ticker.disarm((HARAKIRI, link))
