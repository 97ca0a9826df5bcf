"""``pymule journal``, most of it in this process: it asks no daemon."""

import json
import os
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest

from pymule.cli import pymule
from pymule.cli.entry import run_app
from pymule.master.journal_lock import JournalLock
from pymule.master.journal_records import Clock
from pymule.master.journal_start import open_file
from pymule.master.journal_turn import Turn, stores
from pymule.sansio.record import Buried, Paused
from tests.cli.conftest import run_pymule
from tests.master.journaling import letter, stored

Said = pytest.CaptureFixture[str]


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    """A journal with three messages, a dead letter and a paused queue."""
    path = tmp_path / "state"
    lock = JournalLock.take(path)
    file = open_file(lock)
    turn = Turn(
        [
            stored(1, 1, 2),
            stored(2, 3, queue="mule", message_id="x"),
            Buried(letter(9)),
            Paused("mule", is_paused=True),
        ]
    )
    clock = Clock.now()
    file.run(turn.statements(clock, count(1)), is_synced=False)
    file.run(stores(turn.rows, clock, count(1)), is_synced=False)
    file.close()
    lock.close()
    return path


def status_of(*arguments: object) -> int:
    """Run the command in this process."""
    return run_app(pymule.app, ("journal", *map(str, arguments)), "pymule")


def damage(state_dir: Path) -> None:
    lock = JournalLock.take(state_dir)
    file = open_file(lock)
    file.connection.execute("UPDATE rows SET count = 3 WHERE row = 1")
    file.close()
    lock.close()


def test_check_tells_what_is_there(state_dir: Path, capsys: Said) -> None:
    assert status_of("check", "--state-dir", state_dir) == 0

    first, *table = capsys.readouterr().out.splitlines()
    assert first == f"{state_dir}/journal.db: ok"
    assert [line.split() for line in table] == [
        ["QUEUE", "MESSAGES", "DEAD", "BYTES", "STATE"],
        ["farm:busy", "2", "1", "24", "B", "open"],
        ["mule", "1", "0", "12", "B", "paused"],
    ]


def test_check_tells_it_to_programs(state_dir: Path, capsys: Said) -> None:
    assert status_of("check", "--state-dir", state_dir, "--json") == 0

    told = json.loads(capsys.readouterr().out)
    assert told["queues"]["mule"] == {
        "messages": 1,
        "dead": 0,
        "bytes": 12,
        "is_paused": True,
    }
    assert (told["rows"], told["message_ids"]) == (2, 1)


def test_damage_is_status_65_with_its_place(state_dir: Path, capsys: Said) -> None:
    damage(state_dir)

    for command in ("check", "export"):
        assert status_of(command, "--state-dir", state_dir) == 65
        assert "row 1: the CRC-32 does not fit" in capsys.readouterr().err


def test_an_empty_journal_is_one(tmp_path: Path, capsys: Said) -> None:
    (tmp_path / "x").write_text('{"kind":"journal","form":1}\n')
    assert status_of("import", tmp_path / "x", "--state-dir", tmp_path / "new") == 0

    assert status_of("check", "--state-dir", tmp_path / "new") == 0

    assert capsys.readouterr().out.endswith("it is empty\n")


def test_what_is_exported_can_be_imported_elsewhere(
    state_dir: Path, tmp_path: Path, capsys: Said
) -> None:
    lines, new = tmp_path / "lines", tmp_path / "new"

    assert status_of("export", "--state-dir", state_dir, "-o", lines) == 0
    assert status_of("import", lines, "--state-dir", new, "--json") == 0

    assert json.loads(capsys.readouterr().out) == {
        "messages": 3,
        "dead": 1,
        "message_ids": 1,
        "paused": 1,
        "renumbered": 0,
    }
    assert lines.stat().st_mode & 0o777 == 0o600
    assert new.stat().st_mode & 0o777 == 0o700
    assert status_of("export", "--state-dir", new) == 0
    assert capsys.readouterr().out == lines.read_text()
    assert status_of("import", lines, "--state-dir", new) == 0
    assert capsys.readouterr().out == (
        "imported 3 messages and 1 dead letters, 4 of them with a new id\n"
    )


def test_a_bad_line_is_told_with_its_number(
    state_dir: Path, tmp_path: Path, capsys: Said
) -> None:
    (tmp_path / "x").write_text('{"kind":"journal","form":1}\nno\n')

    assert status_of("import", tmp_path / "x", "--state-dir", state_dir) == 65

    said = capsys.readouterr().err
    assert said.startswith(f"pymule: {tmp_path}/x: line 2: ")
    assert said.endswith("nothing was imported\n")


def test_vacuum_writes_it_anew(state_dir: Path, capsys: Said) -> None:
    # Open, so that its inode is not given to another.
    with (state_dir / "journal.db").open("rb") as old:
        assert status_of("vacuum", "--state-dir", state_dir, "--json") == 0
        assert status_of("vacuum", "--state-dir", state_dir) == 0

        new = state_dir / "journal.db"
        assert not os.path.samestat(new.stat(), os.fstat(old.fileno()))
    assert '"bytes_before"' in capsys.readouterr().out
    assert status_of("check", "--state-dir", state_dir) == 0


def test_salvage_saves_and_tells_what_it_could_not(
    state_dir: Path, capsys: Said
) -> None:
    assert status_of("salvage", "--state-dir", state_dir) == 0
    assert status_of("salvage", "--state-dir", state_dir, "--json") == 0
    assert capsys.readouterr().out == "no damage found\n{}\n"
    damage(state_dir)

    assert status_of("salvage", "--state-dir", state_dir) == 0

    damaged, kept, saved, lost = capsys.readouterr().out.splitlines()
    assert damaged == "damage: row 1: the CRC-32 does not fit"
    assert Path(kept.partition(": ")[2]).exists()
    assert saved == "saved: 1 messages, 1 dead letters"
    assert lost == "lost: row 1: the CRC-32 does not fit"
    assert status_of("check", "--state-dir", state_dir) == 0


def test_salvage_tells_it_to_programs(state_dir: Path, capsys: Said) -> None:
    damage(state_dir)

    assert status_of("salvage", "--state-dir", state_dir, "--json") == 0

    told = json.loads(capsys.readouterr().out)
    assert told["messages"] == {"mule": 1}
    assert told["dead"] == 1


def test_a_journal_in_use_is_left_alone(state_dir: Path, capsys: Said) -> None:
    lock = JournalLock.take(state_dir)

    for command in ("check", "export", "vacuum", "salvage"):
        assert status_of(command, "--state-dir", state_dir) == 75
        assert f"in use by process {os.getpid()}" in capsys.readouterr().err

    lock.close()


def test_no_journal_is_made_by_looking_for_one(tmp_path: Path, capsys: Said) -> None:
    assert status_of("check", "--state-dir", tmp_path) == 73

    assert capsys.readouterr().err == f"pymule: there is no journal in {tmp_path}\n"
    assert list(tmp_path.iterdir()) == []


def test_a_newer_format_is_refused(state_dir: Path, capsys: Said) -> None:
    with (state_dir / "journal.db").open("r+b") as file:
        file.seek(60)
        file.write((9).to_bytes(4))

    assert status_of("check", "--state-dir", state_dir) == 65

    assert "format 9" in capsys.readouterr().err


def test_the_configuration_tells_where_it_is(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    monkeypatch.chdir(state_dir.parent)
    Path("pymule.toml").write_text('state_dir = "state"\n[[mule]]\n')

    assert status_of("check") == 0
    assert status_of("check", "-c", "pymule.toml") == 0
    assert capsys.readouterr().out.count("journal.db: ok") == 2

    assert status_of("check", "-c", "pymule.toml", "--state-dir", state_dir) == 64
    Path("pymule.toml").write_text("[[mule]]\n")
    assert status_of("check") == 78
    assert "has no state_dir" in capsys.readouterr().err
    Path("pymule.toml").write_text("mule = 1\n")
    assert status_of("check") == 78


def test_a_reader_that_goes_away_ends_it_quietly(state_dir: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = (sys.executable, "-m", "pymule.cli.pymule", "journal", "export")
    done = subprocess.run(  # noqa: S603  (our own command)
        [*command, "--state-dir", str(state_dir)],
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)

    assert (done.returncode, done.stderr) == (141, b"")


def test_help_is_short(tmp_path: Path) -> None:
    done = run_pymule(tmp_path, "journal", "--help")

    assert done.returncode == 0
    assert b"..." not in done.stdout.partition(b"Commands:")[2]
