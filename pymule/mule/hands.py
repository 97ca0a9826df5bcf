"""Which task and which thread has what in hand, and what becomes of it."""

import asyncio
import threading
import traceback
from functools import partial
from typing import Final

from pymule.mule.inbox import Hand, Lane
from pymule.mule.link import LaneKey, MuleLink, in_home
from pymule.sansio.verbs import JsonObject, Nack
from pymule.verdicts import Reject, Retry, verdict_behind

__all__ = ("Hands", "describe_error")

_TRACEBACK_CHARS: Final = 8_000


def describe_error(error: BaseException) -> JsonObject:
    """Return *error* as it travels to the master: type, text and traceback.

    Type and text are those of the verdict, if that was raised.
    """
    lines = "".join(traceback.format_exception(error))
    told = verdict_behind(error) or error
    return {
        "type": type(told).__qualname__,
        "text": str(told)[:_TRACEBACK_CHARS],
        "traceback": lines[-_TRACEBACK_CHARS:],
    }


class Hands:
    """The hands of all consumers of a mule.

    Args:
        link: Has their lanes, and their lock.
        by_owner: Where to keep the hand of each asyncio task and thread that asks in
            the plain way.
    """

    def __init__(self, link: MuleLink, by_owner: dict[object, Hand]) -> None:
        self.by_owner = by_owner
        self._link = link
        self._lock = link.lock
        # The threads among the owners, which end without telling.
        self._threads: list[threading.Thread] = []
        # Hands of tasks that ended in good order with a message: done when anyone
        # asks next.
        self._orphans: list[Hand] = []
        self._is_closed = False

    async def of_task(self, key: LaneKey) -> Hand:
        """Return the hand with which the current task asks for *key*."""
        task = asyncio.current_task()
        if task is None:
            raise AssertionError("a coroutine that runs is in a task")
        hand = self.by_owner.get(task)
        if hand is not None and hand.key == key:
            return hand
        hand = await self.new(key)
        with self._lock:
            old = self.by_owner.get(task)
            if old is None:
                # Not twice for a task whose last message was nacked.
                task.remove_done_callback(self._task_done)
                task.add_done_callback(self._task_done)
            else:
                old.close()
            hand.owner = task
            self.by_owner[task] = hand
        return hand

    def of_current_task(self) -> Hand:
        """Return the hand into which the current task just took a message."""
        return self.by_owner[asyncio.current_task()]

    def of_current_thread(self) -> Hand:
        """Return the hand into which the current thread just took a message."""
        return self.by_owner[threading.current_thread()]

    async def new(self, key: LaneKey) -> Hand:
        """Return a new hand for a consumer in the running loop."""
        lane = self._link.lane(key)
        loop = asyncio.get_running_loop()
        if lane.home is not None and lane.home is not loop:
            moved = in_home(lane, partial(self._share, lane))
            if moved is not None:
                await asyncio.wrap_future(moved)
        with self._lock:
            if lane.home is None and not lane.hands:
                lane.interrupt()
                lane.home = loop
            return Hand(lane)

    def of_thread(self, key: LaneKey) -> Hand:
        """Return the hand with which the current thread asks for *key*."""
        thread = threading.current_thread()
        hand = self.by_owner.get(thread)
        if hand is not None and hand.key == key:
            return hand
        new = self.new_in_thread(key)
        with self._lock:
            if hand is not None:
                hand.close()
            elif thread not in self._threads:
                self._threads.append(thread)
            new.owner = thread
            self.by_owner[thread] = new
        return new

    def new_in_thread(self, key: LaneKey) -> Hand:
        """Return a new hand for a consumer in a thread without a loop."""
        lane = self._link.lane(key)
        if lane.home is not None:
            moved = in_home(lane, partial(self._share, lane))
            if moved is not None:
                moved.result()
        with self._lock:
            return Hand(lane)

    def _share(self, lane: Lane) -> None:
        with self._lock:
            lane.share()

    def _interrupt(self, lane: Lane) -> None:
        with self._lock:
            lane.interrupt()

    # Settling

    def let_go(self, hand: Hand) -> None:
        """The consumer of *hand* asks: what it had is done; under the lock."""
        hand.let_go()
        self._link.measure(hand.lane)
        self._close_orphans()
        self._close_dead_threads()

    def done(self, hand: Hand) -> None:
        """What *hand* has is done; only its owner, if any, uses it again."""
        with self._lock:
            if self.by_owner.get(hand.owner) is hand:
                hand.let_go()
            else:
                self._disown(hand)
                hand.close()
        self._link.flush_soon()

    def _disown(self, hand: Hand) -> None:
        if self.by_owner.get(hand.owner) is hand:
            del self.by_owner[hand.owner]
        elif hand in self._orphans:
            self._orphans.remove(hand)

    def nack(
        self,
        hand: Hand,
        error: JsonObject,
        *,
        delay: float | None = None,
        is_final: bool = False,
    ) -> None:
        """Give back what *hand* has; the hand is not used again."""
        position = hand.position
        if position is None:
            raise AssertionError("a message is nacked once, while in hand")
        with self._lock:
            arrival = hand.lane.arrival_of(position)
            message = arrival.first_id + position - arrival.start
            hand.lane.nacked(position)
            self._disown(hand)
        wait = -1.0 if delay is None else delay
        nack = Nack(message, arrival.attempt, wait, is_final, error)
        self._link.nack(hand, nack)

    def failed(self, hand: Hand, error: BaseException) -> None:
        """Give back what *hand* has, as *error* asks for; the hand is not used again.

        That is at once to the dead letters, after a certain delay, or as the queue has
        it: see :mod:`pymule.verdicts`.
        """
        verdict = verdict_behind(error)
        self.nack(
            hand,
            describe_error(error),
            delay=verdict.delay if isinstance(verdict, Retry) else None,
            is_final=isinstance(verdict, Reject),
        )

    # Owners that end

    def _task_done(self, task: asyncio.Task[object]) -> None:
        with self._lock:
            hand = self.by_owner.pop(task, None)
            if hand is None:
                return
            if hand.position is None:
                hand.close()
                return
        if task.cancelled():
            self.nack(
                hand, {"type": "CancelledError", "text": "its task was cancelled"}
            )
        elif (error := task._exception) is not None:  # noqa: SLF001
            # Not exception(), which would keep asyncio from logging an error that
            # nobody awaits.
            self.failed(hand, error)
        else:
            with self._lock:
                self._orphans.append(hand)
                lanes = list(self._link.lanes.values())
            for lane in lanes:
                in_home(lane, partial(self._interrupt, lane))

    def owner_failed(self, owner: object, error: BaseException) -> None:
        """A task or a thread ended with *error*: give back what it had in hand."""
        with self._lock:
            hand = self.by_owner.pop(owner, None)
        if hand is None:
            return
        if hand.position is None:
            with self._lock:
                hand.close()
        else:
            self.failed(hand, error)

    def _close_orphans(self) -> None:
        # What a program that failed left in hand is not done, whoever still asks
        # while the link is closed.
        if not self._is_closed:
            for orphan in self._orphans:
                orphan.close()
            self._orphans.clear()

    def _close_dead_threads(self) -> None:
        for thread in [one for one in self._threads if not one.is_alive()]:
            self._threads.remove(thread)
            if (hand := self.by_owner.pop(thread, None)) is not None:
                hand.close()

    def drain(self) -> None:
        """What owners that ended have in hand is done, as far as that is sure."""
        with self._lock:
            self._close_dead_threads()
            # A task that ended may have been one of wait_for's, whose caller is at
            # work on the message. If so, and nobody waits now, it will ask again.
            lanes = self._link.lanes.values()
            # Those of functions say nothing of the program.
            if any(one.waiting and not isinstance(one.key, tuple) for one in lanes):
                self._close_orphans()

    def close(self, *, is_done: bool) -> None:
        """The program ended.

        Args:
            is_done: Whether what owners that ended have in hand counts as done.
        """
        with self._lock:
            if is_done:
                self._close_orphans()
                for owner, hand in self.by_owner.items():
                    if _is_over(owner):
                        hand.let_go()
            self._is_closed = True


def _is_over(owner: object) -> bool:
    """Whether *owner*, a task or a thread, ended in good order with the program."""
    if isinstance(owner, asyncio.Task):
        return owner.done() and not owner.cancelled() and owner._exception is None  # noqa: SLF001
    if not isinstance(owner, threading.Thread):
        raise AssertionError("who asks is a task or a thread")  # noqa: TRY004  (ours)
    return owner is threading.main_thread() or not owner.is_alive()
