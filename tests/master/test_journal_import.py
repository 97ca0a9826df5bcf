"""What was exported, in another journal."""

import json
from collections.abc import Iterable
from itertools import count
from pathlib import Path

import pytest

from pymule.master.journal_export import UNIX, export_lines
from pymule.master.journal_file import JournalFile
from pymule.master.journal_import import BadLineError, Imported, import_lines
from pymule.master.journal_reader import Reader
from pymule.master.journal_survey import survey
from pymule.master.journal_turn import Turn, stores
from pymule.sansio.body import JsonObject
from pymule.sansio.record import Buried, Changed, Fact, Gone, Paused
from tests.master.journaling import letter, stored

HEAD: JsonObject = {"kind": "journal", "form": 1}
FACTS: tuple[Fact, ...] = (
    stored(1, 10, 600, at=1000.0),
    stored(2, 800, message_id="x", at=1001.0, due_at=5000.0),
    Changed(1, 10, 3, 1, 0, 2000.0, ({"text": "no"},)),
    Gone(1, 20, 5),
    Buried(letter(5)),
    Paused("mule", is_paused=True),
)


def made(path: Path, *facts: Fact) -> JournalFile:
    path.touch()
    file = JournalFile(path)
    turn = Turn(facts)
    file.run(turn.statements(UNIX, count(1)), is_synced=False)
    file.run(stores(turn.rows, UNIX, count(1)), is_synced=False)
    file.run([("UPDATE meta SET next_id = 801, next_row = 3", ())], is_synced=False)
    return file


def put(file: JournalFile, lines: Iterable[JsonObject]) -> Imported:
    texts = [json.dumps(line) + "\n" for line in lines]
    return import_lines(file, lambda: texts)


def test_an_empty_journal_gets_all_of_it_as_it_was(tmp_path: Path) -> None:
    lines = list(export_lines(made(tmp_path / "a.db", *FACTS)))
    (tmp_path / "b.db").touch()
    file = JournalFile(tmp_path / "b.db")

    done = put(file, lines)

    assert done == Imported(messages=596, dead=1, message_ids=1, paused=1)
    assert list(export_lines(file)) == lines
    assert survey(file, is_thorough=True).rows == 6
    assert file.one("SELECT next_id FROM meta") == 801
    assert file.one("SELECT next_row FROM meta") == 7


def test_ids_that_were_given_already_are_replaced(tmp_path: Path) -> None:
    file = made(tmp_path / "a.db", *FACTS)
    lines = list(export_lines(file))
    lines.append({**lines[1], "id": 5000})

    done = put(file, lines)

    assert (done.messages, done.dead, done.renumbered) == (597, 1, 597)
    again = list(export_lines(file))
    messages = [line for line in again if line["kind"] == "message"]
    ids = [line["id"] for line in messages]
    assert ids[:596] == [line["id"] for line in lines[1:597]]
    assert ids[596:] == [*range(5001, 5597), 5000]
    assert [line["body_base64"] for line in messages[596:]] == [
        line["body_base64"] for line in lines[1:597] + lines[-1:]
    ]
    assert file.one("SELECT next_id FROM meta") == 5598
    (seen,) = (line for line in again if line["kind"] == "seen")
    assert seen["id"] == 5596


def test_messages_of_one_history_are_one_row_again(tmp_path: Path) -> None:
    (tmp_path / "a.db").touch()
    file = JournalFile(tmp_path / "a.db")
    base = {"kind": "message", "queue": "mule", "body_base64": "", "accepted_at": 1.0}

    put(
        file,
        [
            HEAD,
            *({**base, "id": number} for number in (1, 2, 4, 5)),
            {**base, "id": 6, "attempts": 1},
            {**base, "id": 7, "attempts": 1, "options": {"ttl": 5}},
            {**base, "id": 8, "body_base64": "AAAA" * 30_000},
            {**base, "id": 9},
        ],
    )

    rows = list(Reader(file, UNIX).rows())
    assert [(row.stored.first_id, row.stored.count) for row in rows] == [
        (1, 2),
        (4, 2),
        (6, 1),
        (7, 1),
        (8, 1),
        (9, 1),
    ]
    assert [row.shares[0].attempts for row in rows] == [0, 0, 1, 1, 0, 0]
    assert rows[3].stored.options == b'{"ttl":5}'


MESSAGE: JsonObject = {
    "kind": "message",
    "id": 1,
    "queue": "mule",
    "body_base64": "AAAA",
    "accepted_at": 1.0,
}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kind": "letter"}, "kind 'letter'"),
        ({"id": "1"}, "id '1'; allowed: an integer"),
        ({"id": -1}, "id -1"),
        ({"queue": None}, "queue None; allowed: a text"),
        ({"body_base64": "?"}, "Error"),
        ({"accepted_at": "now"}, "accepted_at 'now'"),
        ({"options": []}, "options []"),
        ({"options": {"colour": 1}}, "unknown message option 'colour'"),
        ({"errors": ["no"]}, "errors"),
        ({"kind": "dead", "reason": "TIRED", "died_at": 1}, "TIRED"),
        ({"kind": "journal", "form": 2}, "form 2; allowed: 1"),
    ],
)
def test_a_line_that_is_wrong_imports_nothing(
    tmp_path: Path, changes: JsonObject, reason: str
) -> None:
    (tmp_path / "a.db").touch()
    file = JournalFile(tmp_path / "a.db")
    before = list(file.connection.iterdump())

    with pytest.raises(BadLineError) as caught:
        put(file, [HEAD, {**MESSAGE, "id": 7}, {**MESSAGE, **changes}, MESSAGE])

    assert reason in str(caught.value)
    assert list(file.connection.iterdump()) == before


@pytest.mark.parametrize("text", ["", "{", "[]\n", '{"kind": "message"}\n', "null\n"])
def test_a_file_of_another_kind_is_refused_or_empty(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.db").touch()
    file = JournalFile(tmp_path / "a.db")

    if text:
        with pytest.raises(BadLineError, match="line 1: "):
            import_lines(file, lambda: [text])
    else:
        assert import_lines(file, list) == Imported()
