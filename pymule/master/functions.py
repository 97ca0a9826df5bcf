"""The functions of the mules: a queue for each, open while a mule has it.

Who calls a function before the mules are up waits, as in a queue that is full; when
all are up, who calls what none of them has is refused.
"""

from collections.abc import Callable

from pymule.errors import BadCallError
from pymule.master.generation import Generation, Process
from pymule.master.plan import QueuePlan
from pymule.master.signals import send_error
from pymule.sansio.functions import FunctionTable
from pymule.sansio.link import LinkId
from pymule.sansio.queue import Limits
from pymule.sansio.router import Router
from pymule.sansio.target import MuleId
from pymule.sansio.verbs import Call, Reply, ReplyKind

__all__ = ("METHOD", "Functions")

METHOD = "functions"
"""The call by which a mule tells what it has."""

# Nothing has room, so everything waits.
_NO_ROOM = Limits(max_messages=0)


class Functions:
    """Opens and closes the queues of functions.

    Args:
        router: Has the queues.
        queue: Returns the limits and the policy of each.
        is_starting: Whether a mule is being started, and may have any function.
    """

    def __init__(
        self,
        router: Router,
        *,
        queue: Callable[[], QueuePlan],
        is_starting: Callable[[], bool],
    ) -> None:
        self._router = router
        self._queue = queue
        self._is_starting = is_starting
        self._table = FunctionTable()
        # The queues of functions that take messages.
        self._opened: set[str] = set()

    # What mules tell

    def call(self, call: Call, generation: Generation, running: Process) -> None:
        """Take the functions that a mule tells; answer."""
        names, link, connection = (
            call.value.get("names"),
            running.link,
            running.connection,
        )
        if connection is None:
            raise AssertionError("it asked over its connection")
        try:
            if not isinstance(names, list):
                raise ValueError(f"names {names!r}; allowed: a list")  # noqa: TRY004, TRY301  (of the wire)
            targets = self._table.add(link, generation.spec.id, names)
        except ValueError as exc:
            send_error(call, BadCallError(str(exc)), connection)
            return
        self._open(targets)
        self._router.allow(link, targets)
        connection.send(Reply(call.id, ReplyKind.LAST, {"targets": targets}))

    def mule_ready(self, link: LinkId, mule: MuleId) -> None:
        """The program of a process is loaded."""
        self._table.ready(link, mule)
        self.settle()

    def mule_gone(self, link: LinkId) -> None:
        """A process of a mule ended."""
        self._table.link_gone(link)
        self.settle()

    def mule_removed(self, mule: MuleId) -> None:
        """A mule stays down, or a reload took it away."""
        self._table.mule_removed(mule)
        self.settle()

    # Queues

    def submitted(self, target: str) -> None:
        """Somebody calls the function *target*: let it wait if it may come yet."""
        queue = self._router.queues.get(target)
        if (queue is None or queue.is_closed) and self._is_starting():
            plan = self._queue()
            self._router.open_queue(target, _NO_ROOM, plan.policy, plan.keeping)
            self._opened.add(target)

    def settle(self) -> None:
        """Close the queues of functions that no mule has, once all are up.

        What is in one of them stays until a mule has the function again.
        """
        # Asked at each start and end of a mule, so as a rule it looks at nothing.
        left = self._opened.difference(self._table.names)
        if not left or self._is_starting():
            return
        for name in sorted(left):
            self._opened.discard(name)
            self._router.close_queue(name)

    def plan_changed(self) -> None:
        """A reload may have brought other limits."""
        self._open(self._table.names)

    def _open(self, targets: list[str]) -> None:
        plan = self._queue()
        for target in targets:
            self._router.open_queue(target, plan.limits, plan.policy, plan.keeping)
            self._opened.add(target)
