import pytest

from pymule.sansio.delivery import DeadLetter, DeadReason
from pymule.sansio.ledger import Ledger
from pymule.sansio.record import (
    Buried,
    Changed,
    DeadGone,
    Gone,
    Paused,
    RowGone,
    Stored,
)
from pymule.sansio.run import Run
from pymule.sansio.target import MessageId
from tests.sansio.routing import queue_of, run_of


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(5)


def kept(ledger: Ledger, count: int = 2) -> Run:
    """Return a run that has a row, which nobody is told of any more."""
    run = run_of(count)
    ledger.store(run, due_at=None, is_synced=True)
    ledger.take()
    return run


def test_facts_are_told_once_and_in_their_order(ledger: Ledger) -> None:
    ledger.paused("a", is_paused=True)
    ledger.dead_gone((1, 2))

    assert ledger.take() == [Paused("a", is_paused=True), DeadGone((1, 2))]
    assert ledger.take() == []


def test_a_batch_is_stored_under_a_row_of_its_own(ledger: Ledger) -> None:
    run = run_of(2, 7, message_id="m", priority=3)
    run.at = 1.5

    assert ledger.store(run, due_at=4.0, is_synced=True) == 5
    assert ledger.store(run_of(), due_at=None, is_synced=False) == 6

    first, second = ledger.take()
    assert first == Stored(
        row=5,
        queue="a",
        first_id=7,
        count=2,
        options=run.options,
        payload=run.payload,
        accepted_at=1.5,
        due_at=4.0,
        is_synced=True,
        is_kept=False,
        message_id="m",
    )
    assert isinstance(second, Stored)
    assert (second.row, second.is_synced, second.message_id) == (6, False, None)


def test_what_is_kept_is_nothing_new_to_refuse_or_to_compare(ledger: Ledger) -> None:
    run = run_of(message_id="m")

    ledger.keep(run)

    (fact,) = ledger.take()
    assert isinstance(fact, Stored)
    assert (fact.is_kept, fact.is_synced, fact.message_id) == (True, False, None)
    assert run.batch.row == 5


def test_a_lease_spends_its_attempt_in_advance(ledger: Ledger) -> None:
    run = kept(ledger)
    run.attempts, run.crashes, run.errors = 2, 1, ({"attempt": 2},)

    ledger.leased(run)
    ledger.changed(run)
    ledger.changed(run, 9.0)

    assert ledger.take() == [
        Changed(5, 1, 2, 3, 1, None, run.errors),
        Changed(5, 1, 2, 2, 1, None, run.errors),
        Changed(5, 1, 2, 2, 1, 9.0, run.errors),
    ]


def test_a_row_is_gone_with_the_last_of_it(ledger: Ledger) -> None:
    run = kept(ledger)

    for part in (run.cut(1, 1), run.cut(0, 1)):
        part.batch.unsettled -= 1
        ledger.settled(part)

    assert ledger.take() == [Gone(5, 2, 1), RowGone(5)]


def test_nothing_is_said_of_what_no_journal_has(ledger: Ledger) -> None:
    run = run_of()

    ledger.leased(run)
    ledger.changed(run)
    ledger.settled(run)

    assert ledger.take() == []


def test_a_dead_letter_is_told_as_it_is(ledger: Ledger) -> None:
    letter = DeadLetter(
        MessageId(1), queue_of().name, b"x", b"", 1, 0, DeadReason.REJECTED, (), 0, 1
    )

    ledger.buried(letter)

    assert ledger.take() == [Buried(letter)]
