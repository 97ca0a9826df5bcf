"""One mule process from the inside: how its consumers get messages."""

import asyncio
import threading
import time
from collections.abc import Coroutine
from typing import Final

from pymule.errors import LocalProtocolError
from pymule.functions import functions
from pymule.handlers import registry
from pymule.mule.functions import MuleFunctions
from pymule.mule.hands import Hands
from pymule.mule.inbox import Hand, Lane, LoopWaiter, ThreadWaiter
from pymule.mule.link import LaneKey, MuleLink
from pymule.mule.signals import MuleSignals
from pymule.sansio.verbs import JsonObject
from pymule.scoreboard import Scoreboard

__all__ = ("Runtime",)

# Messages that a consumer may take before other tasks of its loop get a turn; a turn
# costs 1 us on uvloop, a message 0.4.
_TURN_COUNT: Final = 1024


class Runtime:
    """One mule process, seen from the inside.

    Args:
        loop: Where the link lives.
        board: This process's page of shared memory.
        mule: The ``mule`` object of the master's WELCOME.
        hands: Where to keep the hand of each task and thread.
        is_blocking: Whether the program has no event loop of its own.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        board: Scoreboard,
        mule: JsonObject,
        hands: dict[object, Hand],
        *,
        is_blocking: bool = False,
    ) -> None:
        self.link = MuleLink(loop, board, mule)
        self.link.on_drain = self.drain
        self.lock = self.link.lock
        self.hands = Hands(self.link, hands)
        self.signals = MuleSignals(self.link, registry, is_blocking=is_blocking)
        self.functions = MuleFunctions(
            self.link,
            self.hands,
            functions,
            take=self.take,
            take_blocking=lambda hand: self.take_blocking(hand, None, signals=False),
            allow_pickle=mule.get("allow_pickle") is True,
        )

    # Asking

    async def get(self, key: LaneKey) -> bytes:
        """Take a message into the hand of the current task; wait for one.

        What that hand had is done. Cancelling is safe: a message is taken only on
        return.
        """
        return await self.take_next(await self.hands.of_task(key))

    def take_next(self, hand: Hand) -> Coroutine[object, None, bytes]:
        """Take a message into *hand*, of the current task; what that had is done.

        Cancelling is safe: a message is taken only on return.
        """
        with self.lock:
            self.hands.let_go(hand)
        return self.take(hand)

    async def take(self, hand: Hand) -> bytes:
        """Take a message into *hand*; wait for one.

        Cancelling is safe: a message is taken only on return.
        """
        lane = hand.lane
        if lane.position - lane.turned >= _TURN_COUNT:
            if lane.is_credit_due:
                self.link.flush_soon()
            await asyncio.sleep(0)
            lane.turned = lane.position
        with self.lock:
            # No await between here and the return, so a cancelled caller can never
            # walk away with a message that nobody will acknowledge.
            if (body := lane.take(hand)) is not None:
                return body
        while True:
            # A lane with a home has consumers in that loop only.
            waiter = LoopWaiter(lane.home)
            self._start_waiting(lane, waiter)
            try:
                await waiter.woken
            except asyncio.CancelledError:
                self._stop_waiting(lane, waiter)
                raise
            with self.lock:
                lane.waiting -= 1
                lane.mark(time.monotonic())
                if (body := lane.take(hand)) is not None:
                    lane.turned = lane.position
                    return body

    def get_blocking(
        self, key: LaneKey, timeout: float | None, *, signals: bool = True
    ) -> bytes:
        """Take a message into the hand of the current thread; wait for one.

        Args:
            key: Of the lane.
            timeout: Seconds to wait at most.
            signals: Run handlers of signals meanwhile.

        Raises:
            TimeoutError: None came within *timeout* seconds.
        """
        hand = self.hands.of_thread(key)
        with self.lock:
            self.hands.let_go(hand)
        return self.take_blocking(hand, timeout, signals=signals)

    def take_blocking(
        self, hand: Hand, timeout: float | None, *, signals: bool = True
    ) -> bytes:
        """Take a message into *hand*; wait for one, in this thread.

        Raises:
            TimeoutError: None came within *timeout* seconds.
            LocalProtocolError: This is the thread of the link, which must not wait.
        """
        lane = hand.lane
        deadline = None if timeout is None else time.monotonic() + timeout
        with self.lock:
            if (body := lane.take(hand)) is not None:
                is_due = lane.is_credit_due
            else:
                is_due = False
        if body is not None:
            if is_due:
                self.link.flush_soon()
            return body
        if threading.get_ident() == self.link.thread:
            raise LocalProtocolError(
                "a blocking get would stop the loop that brings the message; "
                "await pymule's, or call this one in another thread"
            )
        while True:
            left = None if deadline is None else max(deadline - time.monotonic(), 0)
            if not self._wait_in_thread(lane, left, signals=signals):
                raise TimeoutError(f"no message within {timeout} seconds")
            with self.lock:
                lane.mark(time.monotonic())
                if (body := lane.take(hand)) is not None:
                    return body

    def _wait_in_thread(self, lane: Lane, left: float | None, *, signals: bool) -> bool:
        """Wait until there may be a message; run handlers meanwhile.

        Returns:
            False when *left* seconds are over.

        Raises:
            SystemExit: The program is about to end.
        """
        waiter = ThreadWaiter(lane)
        self._start_waiting(lane, waiter, hears=signals)
        was_woken = False
        try:
            was_woken = waiter.wait(left)
        finally:
            if not was_woken:
                self._stop_waiting(lane, waiter)
        if not was_woken:
            return False
        with self.lock:
            lane.waiting -= 1
            self.signals.forget(waiter)
            if self.link.is_ending:
                # Ends this thread without a word, as threading has it.
                raise SystemExit
        if waiter.job is not None:
            waiter.job.run()
        return True

    def _start_waiting(
        self, lane: Lane, waiter: LoopWaiter | ThreadWaiter, *, hears: bool = False
    ) -> None:
        with self.lock:
            lane.waiting += 1
            lane.waiters.append(waiter)
            is_thread = isinstance(waiter, ThreadWaiter)
            if lane.untaken or (self.link.is_ending and is_thread):
                # It came between the last look and the lock.
                lane.waiters.pop().wake()
            elif hears and isinstance(waiter, ThreadWaiter):
                self.signals.hear(waiter)
        self.link.flush_soon()

    def _stop_waiting(self, lane: Lane, waiter: LoopWaiter | ThreadWaiter) -> None:
        job = None
        is_left = False
        with self.lock:
            lane.waiting -= 1
            if isinstance(waiter, ThreadWaiter):
                self.signals.forget(waiter)
                job = waiter.job
            # Who was woken is no longer in line. The waiter itself cannot tell: the
            # future of a task that is cancelled is done as well.
            if waiter in lane.waiters:
                lane.waiters.remove(waiter)
            elif job is None and lane.untaken:
                # It was woken for a message that it does not take.
                if lane.waiters:
                    lane.waiters.popleft().wake()
                else:
                    is_left = True
        if is_left:
            self.link.left_untaken(lane)
        if job is not None:
            job.give_back()
        self.link.flush_soon()

    # The end

    def drain(self) -> None:
        """Take nothing more, and give back what nobody has touched."""
        link = self.link
        link.is_draining = True
        lanes = list(link.lanes.values())
        self.hands.drain()
        # The master must have heard of each lane before it hears of its limit.
        link.flush()
        for lane in lanes:
            link.give_back(lane)
        link.flush_soon()

    def end_waits(self) -> None:
        """Let threads that wait for a message end; the process is about to."""
        with self.lock:
            self.link.is_ending = True
            self.signals.end_waits()
            for lane in self.link.lanes.values():
                while lane.waiters:
                    lane.waiters.popleft().wake()

    def nudge_main_thread(self) -> None:
        """Let the main thread, if it waits here, run the handlers of Unix signals.

        Python runs them between two instructions, or when the signal interrupts a
        system call: one that comes just before the thread blocks would have to wait
        for the next message.
        """
        with self.lock:
            self.signals.nudge_main_thread()
            for lane in self.link.lanes.values():
                for waiter in [w for w in lane.waiters if isinstance(w, ThreadWaiter)]:
                    if waiter.is_main:
                        lane.waiters.remove(waiter)
                        waiter.wake()

    async def close(self, error: JsonObject | None, *, is_done: bool = True) -> None:
        """Send the last acks and the *error* that ended the program; close.

        Args:
            error: What the program raised, if it did.
            is_done: Whether what consumers that ended have in hand counts as done.
        """
        await self.signals.close()
        await self.functions.close()
        self.hands.close(is_done=is_done)
        await self.link.close(error)
