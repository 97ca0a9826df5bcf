"""What the router has decided, on its way out: held back until it is written.

A message of a journal leaves for its mule when the journal has written that it does,
so that no crash of the master forgets the attempt. Behind it everything else for that
mule waits, too: positions of a lane count messages in the order in which they leave.
"""

import asyncio
import gc
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from pymule.master.links import Links
from pymule.master.logs import log
from pymule.master.plan import Plan
from pymule.master.ticker import Deadline, Ticker
from pymule.sansio.alarms import AlarmKind
from pymule.sansio.body import JsonObject
from pymule.sansio.link import LinkId
from pymule.sansio.router import Router
from pymule.sansio.run import Run
from pymule.sansio.upkeep import Upkeep

if TYPE_CHECKING:
    from pymule.master.journal import Journal, Progress

__all__ = ("ROUTER_ALARMS", "Outflow")

_LOGGER: Final = logging.getLogger("pymule.master")

ROUTER_ALARMS: Final = {kind.value: kind for kind in AlarmKind}
"""The alarms of the router, by the kinds of their deadlines."""


class Outflow:
    """Carries the router's decisions to mules, to the journal and to the ticker.

    Args:
        router: Decides.
        links: Carry deliveries to mules.
        ticker: Has the router's alarms.
        pump: Called when the journal has made something possible.
        on_failed: Called when the journal cannot be written any more.
    """

    def __init__(
        self,
        router: Router,
        links: Links,
        ticker: Ticker[Deadline],
        pump: Callable[[], None],
        on_failed: Callable[[Exception], None],
    ) -> None:
        self.journal: Journal | None = None
        self._router = router
        self._links = links
        self._ticker = ticker
        self._pump = pump
        self._on_failed = on_failed
        # By mule: what waits until the journal has come to a mark.
        self._held: dict[LinkId, deque[tuple[int, Run]]] = {}
        self._mark = 0
        self._written = 0

    def open(self, plan: Plan, upkeep: Upkeep) -> None:
        """Open the journal, if there is to be one, and take back what it kept.

        Blocks; nothing may be going on yet.

        Raises:
            JournalError: It cannot be used.
        """
        if plan.state_dir is None:
            return
        # SQLite is not for those who keep nothing.
        from pymule.master.journal import Journal  # noqa: PLC0415

        # There is none where all mules are for signals.
        window_s = max((q.keeping.dedupe_s for q in plan.queues.values()), default=0.0)
        journal = Journal(
            plan.state_dir,
            self.progressed,
            self._failed,
            seen_window_s=window_s,
            on_damage=plan.on_damage,
        )
        with _all_kept():
            recovered = journal.open()
            rules = plan.function.policy, plan.function.keeping
            found = upkeep.recover(recovered, time.monotonic(), rules)
        log(
            _LOGGER,
            logging.INFO,
            "journal open",
            path=str(plan.state_dir),
            epoch=recovered.epoch,
            queued=found.queued,
            interrupted=found.interrupted,
            expired=found.expired,
            dead=len(recovered.dead) + found.dead,
        )
        self.journal = journal
        journal.start(asyncio.get_running_loop())

    def describe(self) -> JsonObject | None:
        """Return what ``pymule status`` shows of the journal, if there is one."""
        return None if self.journal is None else self.journal.describe()

    def _failed(self, error: Exception) -> None:
        log(_LOGGER, logging.CRITICAL, "journal failed", error=error)
        self._on_failed(error)

    def left_behind(self) -> int:
        """Say what is still queued at the end; return how much of it is lost."""
        lost = 0
        for queue in self._router.queues.values():
            unkept = queue.unkept
            kept = queue.count - unkept
            lost += unkept
            if unkept:
                log(
                    _LOGGER,
                    logging.ERROR,
                    "messages lost",
                    target=queue.name,
                    count=unkept,
                    reason="the master stops and durability is memory",
                )
            if kept:
                log(
                    _LOGGER,
                    logging.INFO,
                    "messages kept",
                    target=queue.name,
                    count=kept,
                )
        return lost

    async def close(self) -> None:
        """Write what is left, and close the journal."""
        if self.journal is not None:
            self.run()
            await self.journal.close()

    def pass_on(self, link: LinkId, run: Run) -> None:
        """Send what no journal keeps to the mule that waits for it, before all else."""
        if link in self._held:
            self._held[link].append((self._mark, run))
        else:
            self._links.deliver_now(link, run)

    def run(self) -> None:
        """Act on what the router has decided since the last time."""
        if self._held:
            self._take_back()
        deliveries = self._router.deliveries(time.monotonic())
        facts = self._router.take_facts()
        if facts and self.journal is not None:
            self._mark = self.journal.write(facts)
        for link, run in deliveries:
            if run.batch.row and not run.is_begun:
                self._held.setdefault(link, deque()).append((self._mark, run))
            elif link in self._held:
                # Nothing but those before it hold it up.
                self._held[link].append((0, run))
            else:
                self._links.deliver(link, run)
        # The work leaves before anything else is done, so before the receipt, too.
        self._links.flush_all()
        for (kind, number), at in self._router.take_alarms().items():
            deadline = kind.value, number
            if at is None:
                self._ticker.disarm(deadline)
            else:
                self._ticker.arm(deadline, at)

    def progressed(self, progress: "Progress") -> None:
        """The journal has written something, or cannot."""
        self._written = progress.written
        self._release()
        if progress.stored:
            self._router.stored(progress.stored)
        if progress.refused and progress.error is not None:
            self._router.not_stored(progress.refused, progress.error)
        self._pump()

    def _take_back(self) -> None:
        """Let others have what is held for a mule that takes nothing more.

        It would be told to drain, and be given messages after that; and while the disk
        is full it would be waited for, until it is killed.
        """
        for link in list(self._held):
            found = self._router.links.get(link)
            if found is None:
                # What it had came back with the news of its death.
                del self._held[link]
            elif found.is_draining:
                for _, run in self._held.pop(link):
                    self._router.give_back(link, run.first_id, run.count)

    def _release(self) -> None:
        for link, held in list(self._held.items()):
            while held and held[0][0] <= self._written:
                self._links.deliver(link, held.popleft()[1])
            if not held:
                del self._held[link]


@contextmanager
def _all_kept() -> Iterator[None]:
    """Let the garbage collector look at nothing of what is made meanwhile.

    Messages have no cycles. To look for some takes a quarter of the time of a start
    with a million of them, and half a second again and again later.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()
