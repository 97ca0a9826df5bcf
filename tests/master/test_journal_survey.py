"""What is in a journal, and that all of it can be read."""

from itertools import count
from pathlib import Path

import pytest

from pymule.errors import JournalDamagedError
from pymule.master.journal_file import JournalFile
from pymule.master.journal_lock import JournalLock
from pymule.master.journal_records import Clock
from pymule.master.journal_start import open_file
from pymule.master.journal_survey import QueueCount, open_whole, survey
from pymule.master.journal_turn import Turn, stores
from pymule.sansio.record import Buried, Gone, Paused
from tests.master.journaling import letter, stored


def fill(file: JournalFile) -> None:
    turn = Turn(
        [
            stored(1, 1, 4),
            stored(2, 5, queue="mule", message_id="x"),
            Gone(1, 4, 1),
            Buried(letter(9, queue="mule")),
            Paused("farm:slow", is_paused=True),
        ]
    )
    clock = Clock.now()
    file.run(turn.statements(clock, count(1)), is_synced=False)
    file.run(stores(turn.rows, clock, count(1)), is_synced=False)


def test_it_counts_by_queue(tmp_path: Path) -> None:
    lock = JournalLock.take(tmp_path)
    file = open_file(lock)
    fill(file)

    found = survey(file, is_thorough=True)

    assert found.queues == {
        "farm:busy": QueueCount(messages=3, bytes=48),
        "mule": QueueCount(messages=1, dead=1, bytes=12),
        "farm:slow": QueueCount(is_paused=True),
    }
    assert (found.rows, found.message_ids, found.epoch) == (2, 1, 0)
    file.close()
    lock.close()


def test_one_record_that_is_not_what_was_written_is_enough(tmp_path: Path) -> None:
    lock = JournalLock.take(tmp_path)
    file = open_file(lock)
    fill(file)
    file.close()
    open_whole(lock).close()
    file = open_file(lock)
    file.connection.execute("UPDATE dead SET attempts = 77")
    file.close()

    with pytest.raises(JournalDamagedError, match="dead letter 9"):
        open_whole(lock)

    lock.close()
