"""What the facts of one turn become."""

import sqlite3
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from pymule.master.journal_file import JournalFile
from pymule.master.journal_records import Clock
from pymule.master.journal_turn import Turn, forget_seen, room_for, stores
from pymule.sansio.body import JsonObject
from pymule.sansio.record import (
    Buried,
    Changed,
    DeadGone,
    Fact,
    Gone,
    Paused,
    RowGone,
    Stored,
)
from tests.master.journaling import letter, stored

CLOCK = Clock(0)


@pytest.fixture
def file(tmp_path: Path) -> JournalFile:
    path = tmp_path / "journal.db"
    path.touch()
    return JournalFile(path)


def write(file: JournalFile, *facts: Fact) -> None:
    turn = Turn(facts)
    file.run(turn.statements(CLOCK, count(1)), is_synced=False)
    file.run(stores(turn.rows, CLOCK, count(1)), is_synced=False)


def rows(file: JournalFile, sql: str) -> list[object]:
    found = file.connection.execute(sql).fetchall()
    return [one[0] if len(one) == 1 else one for one in found]


def sql_of(*facts: Fact) -> list[str]:
    statements = Turn(facts).statements(CLOCK, count(1))
    return [sql.partition(" (")[0] for sql, _ in statements]


def test_changes_of_a_row_that_is_gone_are_not_written() -> None:
    assert sql_of(Changed(1, 1, 8, 1, 0), Gone(1, 1, 3), RowGone(1)) == [
        "DELETE FROM rows WHERE row = ?",
        "DELETE FROM changes WHERE row = ?",
    ]


def test_a_row_that_comes_and_goes_in_one_turn_leaves_nothing() -> None:
    assert sql_of(stored(1, is_kept=True), Changed(1, 1, 1, 1, 0), RowGone(1)) == []


def test_neighbouring_ranges_with_one_history_become_one(file: JournalFile) -> None:
    write(
        file,
        Gone(1, 1, 1),
        Gone(1, 2, 1),
        Gone(1, 3, 4),
        Gone(1, 9, 1),
        Changed(1, 10, 1, 1, 0),
        Changed(1, 11, 1, 1, 0),
        Changed(1, 12, 1, 2, 0),
        Gone(2, 13, 1),
    )

    assert rows(
        file, "SELECT row, first_id, count, attempts FROM changes ORDER BY row, seq"
    ) == [
        (1, 1, 6, None),
        (1, 9, 1, None),
        (1, 10, 2, 1),
        (1, 12, 1, 2),
        (2, 13, 1, None),
    ]


def test_a_letter_that_dies_again_after_its_replay_is_there_once_and_last(
    file: JournalFile,
) -> None:
    write(file, Buried(letter(1)), Buried(letter(2)))
    write(file, DeadGone((1,)), Buried(letter(1)))
    write(file, Buried(letter(3)), DeadGone((3, 99)))

    assert rows(file, "SELECT id FROM dead ORDER BY number") == [2, 1]


def test_a_message_that_fails_again_and_again_keeps_its_last_history(
    file: JournalFile,
) -> None:
    seq = count(1)
    write(file, Stored(1, "a", 1, 1, b"", b"", 0.0, is_kept=True))
    for attempt in range(1, 200):
        errors: list[JsonObject] = [{"text": str(n)} for n in range(attempt)]
        for fact in (
            Changed(1, 1, 1, attempt, 0, None, tuple(errors[1:])),
            Changed(1, 1, 1, attempt, 0, 5.0, tuple(errors)),
        ):
            file.run(Turn([fact]).statements(CLOCK, seq), is_synced=False)

    assert rows(file, "SELECT attempts FROM changes") == [199]


def test_what_replaces_a_change_leaves_those_of_other_messages(
    file: JournalFile,
) -> None:
    seq = count(1)
    write(file, Stored(1, "a", 1, 9, b"", b"", 0.0, is_kept=True))
    turns: list[list[Fact]] = [
        [Changed(1, 1, 9, 1, 0), Gone(1, 5, 1)],
        [Changed(1, 3, 2, 0, 0), Changed(1, 4, 1, 2, 0, None, ({"a": "b"},))],
        [Changed(1, 3, 1, 0, 0, None)],
    ]
    for facts in turns:
        file.run(Turn(facts).statements(CLOCK, seq), is_synced=False)

    left = rows(file, "SELECT first_id || '+' || count FROM changes ORDER BY seq")
    assert left == ["1+9", "5+1", "3+2", "4+1", "3+1"]


def test_a_row_may_come_with_its_first_attempt(file: JournalFile) -> None:
    begun = replace(stored(1), is_begun=True)

    write(file, begun, stored(2))

    assert rows(file, "SELECT row || ' ' || attempts FROM changes") == ["1 1"]


def test_nobody_waits_for_what_is_done() -> None:
    assert Turn([stored(1), Gone(2, 3, 1), RowGone(2)]).is_patient
    assert not Turn([Changed(1, 1, 1, 1, 0)]).is_patient
    assert not Turn([stored(1, is_kept=True)]).is_patient


def test_the_last_word_about_a_pause_counts(file: JournalFile) -> None:
    write(file, Paused("a", is_paused=True), Paused("b", is_paused=True))
    write(file, Paused("a", is_paused=False), Paused("b", is_paused=True))

    assert rows(file, "SELECT queue FROM paused") == ["b"]


def test_many_records_are_few_statements(file: JournalFile) -> None:
    facts = [stored(number, size=1000) for number in range(1, 201)]
    turn = Turn(facts)

    statements = stores(turn.rows, CLOCK, count(1))
    file.run(statements, is_synced=False)

    assert len(statements) == 4
    assert max(len(parameters) for _, parameters in statements) < 999
    assert rows(file, "SELECT count(*) FROM rows") == [200]


def test_a_kept_row_leaves_the_message_id_to_the_first(file: JournalFile) -> None:
    write(file, stored(1, message_id="x"))
    write(file, stored(2, message_id="x", is_kept=True), RowGone(1))

    assert rows(file, "SELECT id FROM seen") == [1]
    assert rows(file, "SELECT row FROM rows") == [2]


def test_the_newest_ids_of_each_queue_are_kept(file: JournalFile) -> None:
    for number in range(1, 9):
        queue = "crowded" if number < 7 else "quiet"
        seen = [number, queue, str(number)]
        sql = "INSERT INTO seen (at, queue, message_id, id) VALUES (?, ?, ?, ?)"
        file.connection.execute(sql, (*seen, number))

    file.run(forget_seen(file, 2, most=3), is_synced=False)

    assert rows(file, "SELECT id FROM seen ORDER BY id") == [4, 5, 6, 7, 8]


def test_ids_that_are_too_old_go_however_few_there_are(file: JournalFile) -> None:
    write(file, stored(1, message_id="x"))

    file.run(forget_seen(file, 1 << 62, most=3), is_synced=False)

    assert rows(file, "SELECT count(*) FROM seen") == [0]


def test_a_turn_knows_what_it_adds() -> None:
    turn = Turn([stored(5, 40, 3, is_kept=True), stored(6), RowGone(1), RowGone(2)])

    assert (turn.highest_row, turn.highest_id, turn.growth) == (5, 42, -1)
    gone = Turn([stored(7, is_kept=True), RowGone(7)])
    assert (gone.highest_row, gone.highest_id, gone.is_empty) == (7, 7, True)
    assert turn.kept_bytes == room_for([stored(5, 40, 3)])
    assert Turn([Buried(letter(1, size=5000))]).kept_bytes > 5000
    assert not turn.is_empty
    assert Turn([stored(6)]).is_empty


def test_statements_are_those_of_an_old_sqlite(file: JournalFile) -> None:
    limit = file.connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)
    file.connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 999)

    write(file, *[Buried(letter(number)) for number in range(1, 70)])

    assert limit >= 999
    assert rows(file, "SELECT count(*) FROM dead") == [69]
