"""A router with what people do to its queues, and no daemon around it."""

import itertools
import os
import time
from pathlib import Path
from typing import Final, Unpack

from pymule.errors import RefusedError
from pymule.master.listener import Credentials
from pymule.master.queues import Queues
from pymule.sansio.batch import Batch
from pymule.sansio.delivery import DeadReason, DeliveryPolicy
from pymule.sansio.failure import failure
from pymule.sansio.link import LinkId
from pymule.sansio.options import OptionWords, pack_options
from pymule.sansio.queue import Limits
from pymule.sansio.router import Router
from pymule.sansio.run import Hands
from pymule.sansio.upkeep import Upkeep
from pymule.sansio.verbs import Call, JsonObject, Reply, ReplyKind
from tests.client.fake_master import FakeMaster, Peer

__all__ = ("MASTERS_FRAME", "DeskMaster", "QueueDesk")

MASTERS_FRAME: Final = 262_144
"""The least that the file allows for ``max_frame_bytes``."""

_WHO: Final = Credentials(pid=os.getpid(), uid=7, gid=8)


class QueueDesk:
    """Queues with messages and dead letters, and who asks about them.

    Args:
        names: Queues to open.
        limits: Of each.
    """

    def __init__(self, *names: str, limits: Limits | None = None) -> None:
        self.router = Router()
        self.upkeep = Upkeep(self.router)
        self.is_draining = False
        self.frame = MASTERS_FRAME
        self.queues = Queues(
            self.upkeep,
            self.router.queues,
            lambda: self.is_draining,
            lambda: self.frame,
        )
        for name in names:
            self.router.open_queue(name, limits or Limits(), DeliveryPolicy(2, 2, 0, 0))
        self._links = itertools.count(1)
        self._sequences = itertools.count(1)

    def ask(self, method: str, **params: object) -> JsonObject:
        """Ask; return the answer or raise the refusal."""
        return self.queues.answer(Call(1, {"method": method, **params}), _WHO)

    def submit(
        self, target: str, *bodies: bytes, **words: Unpack[OptionWords]
    ) -> list[int]:
        """Queue messages; return their ids."""
        ids = []
        for body in bodies:
            options = pack_options(**words)
            sequence = next(self._sequences)
            batch = Batch.of([body])
            self.router.submit(1, sequence, target, batch, options, time.monotonic())
            ((_, _, _, result),) = self.router.take_answers()
            if not isinstance(result, int):
                raise result or AssertionError("of this queue nothing is stored")
            ids.append(result)
        return ids

    def lease(self, target: str, count: int = 1) -> LinkId:
        """Give messages to a mule; return its link."""
        link = LinkId(next(self._links))
        self.router.add_link(link, [target])
        self.router.open_lane(link, 0, [target])
        self.router.credit(link, 0, count)
        self.router.deliveries(0.0)
        return link

    def bury(
        self,
        target: str,
        *bodies: bytes,
        reason: DeadReason = DeadReason.REJECTED,
        ago: float = 0.0,
        error: JsonObject | None = None,
        **words: Unpack[OptionWords],
    ) -> list[int]:
        """Make dead letters of messages that a mule gives back; return their ids."""
        now = time.monotonic() - ago
        ids = []
        for body in bodies:
            (number,) = self.submit(target, body, **words)
            ids.append(number)
            for attempt in (1, 2):
                link = self.lease(target)
                kept = failure(error or {"type": "Oops", "text": "no"}, 3, time.time())
                if reason is DeadReason.CRASHES:
                    hands = {0: Hands(1, frozenset({0}))}
                    self.router.link_gone(link, hands, kept, now)
                    continue
                self.router.nack(
                    link,
                    number,
                    attempt,
                    delay=0.0,
                    is_final=reason is DeadReason.REJECTED,
                    error=kept,
                    jitter=0.0,
                    now=now,
                )
                self.router.link_gone(link, {}, {}, now)
                if reason is DeadReason.REJECTED:
                    break
        return ids


class DeskMaster(FakeMaster):
    """A master of whose work there is only what is about queues.

    Args:
        path: Of its socket.
        desk: Has the queues.
    """

    def __init__(self, path: Path, desk: QueueDesk) -> None:
        super().__init__(path)
        self.desk = desk
        self.welcome["max_frame_bytes"] = desk.frame
        self.on_call = self._asked

    def _asked(self, peer: Peer, call: Call) -> None:
        try:
            peer.send(Reply(call.id, ReplyKind.LAST, self._answer_to(call)))
        except RefusedError as exc:
            value: JsonObject = {"code": exc.code, "detail": exc.to_detail()}
            peer.send(Reply(call.id, ReplyKind.ERROR, value))

    def _answer_to(self, call: Call) -> JsonObject:
        if call.value["method"] != "status":
            return self.desk.queues.answer(call, _WHO)
        rows = [
            {
                "target": queue.name,
                "ready": queue.ready_count,
                "leased": queue.leased,
                "delayed": queue.delayed_count,
                "blocked": queue.blocked,
                "dead": len(queue.dead),
                "oldest_s": 61.5,
                "durability": "memory",
                "paused": queue.is_paused,
                "closed": queue.is_closed,
            }
            for queue in self.desk.router.queues.values()
        ]
        return {"queues": rows}
