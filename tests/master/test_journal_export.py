"""Everything that is in a journal, as lines."""

import base64
import json
from itertools import count
from pathlib import Path

import pytest

from pymule.errors import JournalDamagedError
from pymule.master.journal_export import UNIX, export_lines
from pymule.master.journal_file import JournalFile
from pymule.master.journal_turn import Turn, stores
from pymule.sansio.record import Buried, Changed, Fact, Gone, Paused
from tests.master.journaling import letter, stored


@pytest.fixture
def file(tmp_path: Path) -> JournalFile:
    path = tmp_path / "journal.db"
    path.touch()
    return JournalFile(path)


def write(file: JournalFile, *facts: Fact) -> None:
    turn = Turn(facts)
    file.run(turn.statements(UNIX, count(1)), is_synced=False)
    file.run(stores(turn.rows, UNIX, count(1)), is_synced=False)


def test_an_empty_journal_is_one_line(file: JournalFile) -> None:
    assert list(export_lines(file)) == [{"kind": "journal", "form": 1}]


def test_messages_are_lines_of_their_own_with_their_history(file: JournalFile) -> None:
    error: dict[str, object] = {"text": "no"}
    write(
        file,
        stored(1, 1, 4, at=1000.5),
        Gone(1, 2, 1),
        Changed(1, 3, 1, 2, 1, 2000.0, (error,)),
    )

    _, *messages = export_lines(file)

    def line(number: int, **more: object) -> dict[str, object]:
        body = base64.b64encode(b"%08d" % number).decode()
        told = {"kind": "message", "id": number, "queue": "farm:busy"}
        return {**told, "body_base64": body, "accepted_at": 1000.5, **more}

    history = {"attempts": 2, "crashes": 1, "due_at": 2000.0, "errors": [error]}
    assert messages == [line(1), line(3, **history), line(4)]


def test_the_rest_of_a_journal_is_there_too(file: JournalFile) -> None:
    write(
        file,
        stored(1, message_id="x\ud800", due_at=50.0, at=7.0),
        Buried(letter(9)),
        Paused("mule", is_paused=True),
    )

    _, message, dead, seen, paused = export_lines(file)

    assert (message["message_id"], message["due_at"]) == ("x\ud800", 50.0)
    assert (dead["reason"], dead["attempts"]) == ("ATTEMPTS", 5)
    assert dead["options"] == {"headers": {"a": "b"}}
    assert seen == {
        "kind": "seen",
        "queue": "farm:busy",
        "message_id": "x\ud800",
        "id": 1,
        "at": 7.0,
    }
    assert paused == {"kind": "paused", "queue": "mule"}
    json.dumps([message, dead, seen])


def test_damage_is_not_exported(file: JournalFile) -> None:
    write(file, stored(1))
    file.connection.execute("UPDATE rows SET count = 2")

    with pytest.raises(JournalDamagedError, match="row 1"):
        list(export_lines(file))
