"""A real router behind an outflow; its journal writes when the test says so."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Unpack, cast

import pytest
from blockbuster import BlockBuster

from pymule.errors import JournalFailedError, StorageFullError
from pymule.master.journal import Journal, Progress
from pymule.master.links import Links
from pymule.master.outflow import Outflow
from pymule.master.ticker import Deadline, Ticker
from pymule.sansio.alarms import AlarmKind
from pymule.sansio.link import LinkId
from pymule.sansio.options import OptionWords
from pymule.sansio.queue import Keeping
from pymule.sansio.record import Changed, Fact, Stored
from pymule.sansio.run import Run
from pymule.sansio.upkeep import Upkeep
from tests.master.conftest import Logged
from tests.master.harness import a_plan, a_spec
from tests.sansio.routing import DURABLE, Desk


class Van:
    """Takes what leaves for mules."""

    def __init__(self) -> None:
        self.brought: list[tuple[int, bytes, int]] = []

    def deliver(self, link: LinkId, run: Run) -> None:
        for body in run.batch.bodies(run.first, run.count):
            self.brought.append((link, body, run.attempts + 1))

    def flush_all(self) -> None:
        pass


class Notebook:
    """A journal that has written nothing until it is told so."""

    def __init__(self) -> None:
        self.facts: list[Fact] = []
        self.mark = 0

    def write(self, facts: Sequence[Fact]) -> int:
        self.facts += facts
        self.mark += 1
        return self.mark


class Yard:
    """An outflow, with the queues ``kept`` and ``brief``."""

    def __init__(self) -> None:
        self.desk = Desk("kept", keeping=DURABLE)
        self.desk.open("brief", keeping=Keeping())
        self.van = Van()
        self.notebook = Notebook()
        self.failures: list[Exception] = []
        self.ticker: Ticker[Deadline] = Ticker(
            asyncio.get_running_loop(), lambda _: None
        )
        self.outflow = Outflow(
            self.desk.router,
            cast("Links", self.van),
            self.ticker,
            self.pump,
            self.failures.append,
        )
        self.outflow.journal = cast("Journal", self.notebook)

    def pump(self) -> None:
        self.outflow.run()

    def link(self, number: int, *sources: str, credit: int = 1) -> LinkId:
        return self.desk.link(number, *sources, credit=credit)

    def submit(self, target: str, *bodies: bytes, **words: Unpack[OptionWords]) -> None:
        self.desk.submit(target, *bodies, now=time.monotonic(), **words)
        self.pump()

    def kept(self, *bodies: bytes) -> None:
        """Let messages be in the journal, and leave if a mule may have them."""
        self.submit("kept", *bodies)
        row = self.desk.router.ledger.next_row - 1
        self.outflow.progressed(Progress(self.notebook.mark, stored=[row]))

    def written(self) -> None:
        """Let the journal have written all."""
        self.outflow.progressed(Progress(self.notebook.mark))


@pytest.fixture
async def yard() -> Yard:
    return Yard()


# Deliveries


async def test_a_message_that_no_journal_keeps_leaves_at_once(yard: Yard) -> None:
    yard.link(1, "brief")

    yard.submit("brief", b"a")

    assert yard.van.brought == [(1, b"a", 1)]
    assert yard.notebook.facts == []


async def test_a_message_leaves_when_its_attempt_is_written(yard: Yard) -> None:
    yard.kept(b"a")
    yard.link(1, "kept")
    yard.pump()

    held = list(yard.van.brought)
    yard.written()

    assert held == []
    assert yard.van.brought == [(1, b"a", 1)]
    assert [type(fact) for fact in yard.notebook.facts] == [Stored, Changed]


async def test_a_message_that_a_mule_waits_for_leaves_when_it_is_stored(
    yard: Yard,
) -> None:
    yard.link(1, "kept")
    yard.submit("kept", b"a")
    before = list(yard.van.brought)

    yard.outflow.progressed(Progress(0, stored=[1]))

    assert before == []
    assert yard.van.brought == [(1, b"a", 1)]
    (fact,) = cast("list[Stored]", yard.notebook.facts)
    assert fact.is_begun


async def test_a_message_whose_mule_has_another_by_then_has_not_begun(
    yard: Yard,
) -> None:
    yard.link(1, "kept", "brief")
    yard.submit("kept", b"a")
    yard.submit("brief", b"b")

    yard.outflow.progressed(Progress(0, stored=[1]))

    assert yard.van.brought == [(1, b"b", 1)]
    assert yard.notebook.facts[-1] == Changed(1, 1, 1, 0, 0)


async def test_it_waits_behind_what_is_held_for_that_mule(yard: Yard) -> None:
    yard.kept(b"a")
    yard.link(1, "kept", credit=2)
    yard.pump()
    yard.submit("kept", b"b")
    yard.outflow.progressed(Progress(1, stored=[2]))
    before = list(yard.van.brought)

    yard.written()

    assert before == []
    assert yard.van.brought == [(1, b"a", 1), (1, b"b", 1)]


async def test_what_comes_behind_it_for_that_mule_waits_and_nothing_else(
    yard: Yard,
) -> None:
    yard.kept(b"a")
    yard.link(1, "kept", "brief", credit=2)
    yard.submit("brief", b"b")
    yard.link(2, "brief")
    yard.submit("brief", b"c")

    before = list(yard.van.brought)
    yard.written()

    assert before == [(2, b"c", 1)]
    assert yard.van.brought[1:] == [(1, b"a", 1), (1, b"b", 1)]


async def test_progress_of_other_facts_releases_nothing(yard: Yard) -> None:
    yard.kept(b"a")
    yard.link(1, "kept")
    yard.pump()

    yard.outflow.progressed(Progress(yard.notebook.mark - 1))

    assert yard.van.brought == []


async def test_what_is_held_for_a_mule_that_drains_goes_to_another(yard: Yard) -> None:
    yard.kept(b"a")
    first = yard.link(1, "kept", "brief", credit=2)
    yard.submit("brief", b"b")
    yard.link(2, "kept", "brief", credit=2)

    yard.desk.router.drain_link(first)
    yard.pump()
    yard.written()

    assert yard.van.brought == [(2, b"a", 1), (2, b"b", 1)]
    assert yard.desk.router.is_idle(first)


async def test_what_is_held_for_a_mule_that_died_goes_to_another(yard: Yard) -> None:
    yard.kept(b"a")
    first = yard.link(1, "kept")
    yard.pump()
    yard.link(2, "kept")

    losses = yard.desk.gone(first)
    yard.pump()
    yard.written()

    assert (losses.untouched, losses.in_hand) == (1, [])
    assert yard.van.brought == [(2, b"a", 1)]


# Answers


async def test_who_sent_what_is_stored_is_told_after_it_may_leave(yard: Yard) -> None:
    yard.submit("kept", b"a")
    yard.submit("kept", b"b")
    yard.desk.router.take_answers()
    full = StorageFullError("state")

    yard.outflow.progressed(Progress(2, stored=[1]))
    yard.outflow.progressed(Progress(2, refused=[2], error=full))

    assert yard.desk.router.take_answers() == [(1, 1, 1, 1), (1, 2, 1, full)]
    assert yard.desk.router.queues["kept"].count == 1


# Alarms


async def test_the_alarms_of_the_router_are_set_and_given_up(yard: Yard) -> None:
    yard.submit("brief", b"a", delay=1000.0)
    was_set = (AlarmKind.DUE.value, 1) in yard.ticker

    Upkeep(yard.desk.router).purge("brief", 99)
    yard.pump()

    assert was_set
    assert not len(yard.ticker)


# Start and end


async def test_without_a_state_directory_there_is_no_journal(yard: Yard) -> None:
    yard.outflow.journal = None

    yard.outflow.open(a_plan(), Upkeep(yard.desk.router))
    await yard.outflow.close()

    assert yard.outflow.describe() is None


@pytest.mark.parametrize("has_queues", [True, False], ids=["queues", "no queues"])
async def test_a_journal_is_opened_and_closed(
    yard: Yard,
    tmp_path: Path,
    logged: Logged,
    blockbuster: BlockBuster,
    *,
    has_queues: bool,
) -> None:
    # The daemon opens it before it serves anybody.
    blockbuster.deactivate()
    plan = replace(a_plan(a_spec()), state_dir=tmp_path)
    if not has_queues:
        plan = replace(plan, queues={})

    yard.outflow.open(plan, Upkeep(yard.desk.router))
    described = yard.outflow.describe()
    await yard.outflow.close()

    assert described is not None
    assert described["epoch"] == 1
    assert [(one["epoch"], one["queued"]) for one in logged("journal open")] == [(1, 0)]


async def test_a_journal_that_fails_is_told_and_logged(
    yard: Yard, logged: Logged
) -> None:
    error = JournalFailedError("journal.db", "disk I/O error")

    yard.outflow._failed(error)

    assert yard.failures == [error]
    assert len(logged("journal failed")) == 1


async def test_what_no_journal_has_is_lost_at_the_end(
    yard: Yard, logged: Logged
) -> None:
    yard.kept(b"a", b"b")
    yard.submit("brief", b"c")

    assert yard.outflow.left_behind() == 1
    assert [(one["target"], one["count"]) for one in logged("messages lost")] == [
        ("brief", 1)
    ]
    assert [(one["target"], one["count"]) for one in logged("messages kept")] == [
        ("kept", 2)
    ]
