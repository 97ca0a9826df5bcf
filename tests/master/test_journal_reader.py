"""What is not what was written is never given to a master."""

from itertools import count
from pathlib import Path

import pytest

from pymule.errors import JournalDamagedError
from pymule.master.journal_file import JournalFile
from pymule.master.journal_reader import Reader
from pymule.master.journal_records import Clock
from pymule.master.journal_turn import Turn, stores
from pymule.sansio.record import Buried, Changed, Gone, Paused, Share
from tests.master.journaling import letter, stored

CLOCK = Clock.now()


@pytest.fixture
def file(tmp_path: Path) -> JournalFile:
    """Two rows with changes, a letter, a message id, a pause."""
    path = tmp_path / "journal.db"
    path.touch()
    file = JournalFile(path)
    turn = Turn(
        [
            stored(1, 1, 4, at=CLOCK.monotonic(CLOCK.wall(0))),
            stored(2, 5, message_id="x", at=100.0),
            Changed(1, 1, 2, 1, 0),
            Gone(1, 4, 1),
            Buried(letter(9)),
            Paused("mule", is_paused=True),
        ]
    )
    file.run(turn.statements(CLOCK, count(1)), is_synced=False)
    file.run(stores(turn.rows, CLOCK, count(1)), is_synced=False)
    return file


def read(file: JournalFile) -> Reader:
    reader = Reader(file, CLOCK)
    list(reader.rows())
    reader.dead()
    reader.seen(1e9)
    reader.paused()
    return reader


def test_everything_is_read(file: JournalFile) -> None:
    reader = Reader(file, CLOCK)

    rows = list(reader.rows())

    assert [one.shares for one in rows] == [
        [Share(1, 2, 1, 0), Share(3, 1)],
        [Share(5, 1)],
    ]
    assert [one.id for one in reader.dead()] == [9]
    assert [one.message_id for one in reader.seen(1e9)] == ["x"]
    assert reader.paused() == {"mule"}
    assert reader.rows_count == 2


def test_a_row_of_which_nothing_is_left_is_only_counted(file: JournalFile) -> None:
    turn = Turn([Gone(1, 1, 3)])
    file.run(turn.statements(CLOCK, count(10)), is_synced=False)
    reader = Reader(file, CLOCK)

    rows = list(reader.rows())

    assert [one.stored.row for one in rows] == [2]
    assert reader.empty_rows == [1]


def test_message_ids_from_before_the_window_are_left_out(file: JournalFile) -> None:
    assert Reader(file, CLOCK).seen(0.0) == []


@pytest.mark.parametrize(
    ("sql", "what"),
    [
        ("UPDATE rows SET payload = x'00' WHERE row = 2", "row 2: the CRC-32"),
        ("UPDATE rows SET payload = 'text' WHERE row = 1", "row 1: no bytes"),
        ("UPDATE rows SET queue = 'farm:bvsy'", "row 1: the CRC-32"),
        ("UPDATE rows SET queue = CAST(x'ff' AS TEXT)", "decode"),
        ("UPDATE rows SET row = 3 WHERE row = 2", "row 3: the CRC-32"),
        ("UPDATE changes SET attempts = 2", "change of row 1: the CRC-32"),
        ("DELETE FROM rows WHERE row = 1", "row 1 has changes, and is missing"),
        ("UPDATE changes SET row = 7", "change of row 7"),
        ("UPDATE dead SET attempts = 9", "dead letter 9: the CRC-32"),
        ("UPDATE seen SET id = 9", "message id 'farm:busy': the CRC-32"),
        ("DROP TABLE dead", "no such table"),
    ],
)
def test_damage_is_told_with_its_place(file: JournalFile, sql: str, what: str) -> None:
    read(file)
    file.connection.execute(sql)

    with pytest.raises(JournalDamagedError, match=what) as caught:
        read(file)

    assert caught.value.path == str(file.path)


def test_rows_behind_the_last_change_that_has_none_are_missed(
    file: JournalFile,
) -> None:
    turn = Turn([Changed(3, 8, 1, 1, 0)])
    file.run(turn.statements(CLOCK, count(20)), is_synced=False)

    with pytest.raises(JournalDamagedError, match="row 3 has changes"):
        list(Reader(file, CLOCK).rows())
