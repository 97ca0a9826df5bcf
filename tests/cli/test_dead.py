import base64
import json
from pathlib import Path

import pytest

from pymule.cli.dead import Reason
from pymule.sansio.delivery import DeadReason
from pymule.sansio.queue import Limits
from tests.cli.queue_run import Runs


def test_the_reasons_are_those_of_the_master() -> None:
    assert {word.value for word in Reason} <= {
        reason.name.lower() for reason in DeadReason
    }
    assert len(Reason) == len(DeadReason)


def test_dead_letters_are_listed(run_words: Runs) -> None:
    desk = run_words.desk
    (one,) = desk.bury("mule", b"x", error={"type": "E\x1b", "text": "no\nmore"})
    (two,) = desk.bury("farm:busy", b"yy", reason=DeadReason.CRASHES)

    shown = run_words("dead", "ls")
    rows = run_words("dead", "ls", "--json").rows

    assert (shown.status, shown.err) == (0, "")
    assert [line.split() for line in shown.out.splitlines()[1:]] == [
        [str(two), "farm:busy", "crashes", "2", "0s", "2", "B", "Oops:", "no"],
        [str(one), "mule", "rejected", "1", "0s", "1", "B", r"E\x1b:", "no"],
    ]
    assert [row["id"] for row in rows] == [two, one]


def test_a_list_has_what_was_asked_for(run_words: Runs) -> None:
    desk = run_words.desk
    (old,) = desk.bury("mule", b"x", ago=7_200)
    (young,) = desk.bury("mule", b"x", reason=DeadReason.ATTEMPTS)
    (other,) = desk.bury("farm:busy", b"x")

    def ids(*words: str) -> list[object]:
        return [row["id"] for row in run_words("dead", "ls", "--json", *words).rows]

    assert ids() == [other, old, young]
    assert ids("--queue", "mule") == [old, young]
    assert ids("--reason", "attempts") == [young]
    assert ids("--older-than", "1h") == [old]
    assert ids("--newer-than", "1h30m", "-q", "mule") == [young]
    assert ids("--limit", "2") == [other, old]


def test_a_list_that_is_cut_says_so(run_words: Runs) -> None:
    run_words.desk.bury("mule", *[b"x"] * 101)

    cut = run_words("dead", "ls")
    whole = run_words("dead", "ls", "-n", 101)

    assert len(cut.out.splitlines()) == 101
    assert cut.err == "pymule: there are more than 100; --limit shows more\n"
    assert (len(whole.out.splitlines()), whole.err) == (102, "")


def test_one_is_shown_with_all_there_is(run_words: Runs) -> None:
    (number,) = run_words.desk.bury(
        "mule",
        b"the\x1bbody",
        reason=DeadReason.ATTEMPTS,
        error={"type": "E", "text": "no", "traceback": "Traceback x"},
        headers={"a": "b"},
    )

    shown = run_words("dead", "show", number)
    row = run_words("dead", "show", number, "--json").json

    assert (shown.status, shown.err) == (0, "")
    assert "header    a: b\n" in shown.out
    assert "\n        1  2" in shown.out
    assert "\n        2  2" in shown.out
    assert "\ntraceback:\n  Traceback x\n" in shown.out
    assert shown.out.endswith("\nbody:\n  the\\x1bbody\n")
    assert isinstance(row, dict)
    assert (row["id"], row["body"], len(row["errors"])) == (number, "the\x1bbody", 2)


def test_the_body_can_be_had_byte_for_byte(run_words: Runs) -> None:
    body = "\x1b[2J\0\r\n" * 20_000
    (number,) = run_words.desk.bury("mule", body.encode())

    run = run_words("dead", "show", number, "--raw")

    assert (run.status, run.out, run.err) == (0, body, "")


def test_an_unknown_id_is_65(run_words: Runs) -> None:
    run = run_words("dead", "show", 99)

    assert (run.status, run.err) == (65, "pymule: no dead letter 99\n")


def test_dead_letters_are_tried_again(run_words: Runs) -> None:
    desk = run_words.desk
    ids = desk.bury("mule", *[b"x"] * 5)
    more = desk.bury("farm:busy", b"y", b"z")

    by_id = run_words("dead", "replay", ids[0], ids[2])
    by_queue = run_words("dead", "replay", "-q", "mule", "--limit", 1, "--json")
    elsewhere = run_words("dead", "replay", more[0], "--to", "mule")
    rest = run_words("dead", "replay", "--all")

    assert by_id.out == "replayed 2 dead letters\n"
    assert by_queue.json == {"replayed": [ids[1]], "unknown": []}
    assert elsewhere.out == "replayed 1 dead letter\n"
    assert rest.out == "replayed 3 dead letters\n"
    queues = desk.router.queues
    assert (queues["mule"].count, queues["farm:busy"].count) == (6, 1)
    assert run_words("dead", "replay", "--all").out == "replayed 0 dead letters\n"


def test_what_cannot_be_tried_again_is_said(run_words: Runs) -> None:
    desk = run_words.desk
    ids = desk.bury("mule", b"x", b"y")
    desk.router.open_queue(
        "mule1", Limits(max_messages=1), desk.router.queues["mule"].policy
    )

    unknown = run_words("dead", "replay", 98, ids[0], 99)
    nowhere = run_words("dead", "replay", ids[1], "--to", "farm:none")
    desk.submit("mule1", b"full")
    full = run_words("dead", "replay", ids[1], "--to", "mule1")

    assert (unknown.status, unknown.out) == (65, "replayed 1 dead letter\n")
    assert unknown.err == "pymule: no dead letter 98, 99\n"
    assert nowhere.status == 65
    assert "there are: mule, farm:busy, mule1\n" in nowhere.err
    assert (full.status, full.out) == (75, "replayed 0 dead letters\n")
    assert full.err == "pymule: queue of 'mule1' is full at 1 messages\n"


def test_a_purge_asks_and_says_how_many(run_words: Runs) -> None:
    letters = run_words.desk.router.queues["mule"].dead
    ids = run_words.desk.bury("mule", *[b"x"] * 4)

    refused = run_words("dead", "purge", "--all", typed="\n")
    assert (refused.status, len(letters)) == (1, 4)
    assert refused.err == "purge 4 dead letters? [y/N] pymule: nothing done\n"

    done = run_words("dead", "purge", ids[0], 99, typed="yes\n")
    assert (done.status, len(letters)) == (65, 3)
    assert done.out == "purged 1 dead letter\n"
    assert done.err.endswith("pymule: no dead letter 99\n")

    rest = run_words("dead", "purge", "--queue", "mule", "--yes", "--json")
    assert rest.json == {"purged": ids[1:], "unknown": []}
    none = run_words("dead", "purge", "--all", typed="")
    assert (none.status, none.out) == (0, "purged 0 dead letters\n")


def test_a_purge_without_a_person_needs_a_yes(run_words: Runs) -> None:
    run = run_words("dead", "purge", 1)

    assert run.status == 64
    assert "--yes purges them without asking" in run.err
    assert not run_words.master.calls


@pytest.mark.parametrize("command", ["replay", "purge"])
@pytest.mark.parametrize(
    "words",
    ["", "1 --all", "1 --queue mule", "--all --older-than 1h", "0", "x"],
)
def test_what_is_meant_has_to_be_clear(
    command: str, words: str, run_words: Runs
) -> None:
    run = run_words("dead", command, *words.split())

    assert run.status == 64
    assert not run_words.master.calls


def test_a_span_that_is_none_is_64(run_words: Runs) -> None:
    run = run_words("dead", "ls", "--older-than", "1y")

    assert run.status == 64
    assert "'1y' is no span of time; allowed: numbers with s, m, h, d or w" in run.err


def test_an_export_is_lines_of_json(run_words: Runs, tmp_path: Path) -> None:
    ids = run_words.desk.bury("mule", b"\xff", b"b")
    path = tmp_path / "out"

    shown = run_words("dead", "export", "--queue", "mule")
    written = run_words("dead", "export", "-n1", "-o", path)
    again = run_words("dead", "export", "-o", path)

    rows = [json.loads(line) for line in shown.out.splitlines()]
    assert [row["id"] for row in rows] == ids
    assert base64.b64decode(rows[0]["body_base64"]) == b"\xff"
    assert (written.status, written.out) == (0, "")
    assert written.err == f"pymule: {path}: 1 dead letter\n"
    assert json.loads(path.read_text())["id"] == ids[0]
    assert (again.status, len(path.read_text().splitlines())) == (64, 1)


def test_raw_and_json_exclude_each_other(run_words: Runs) -> None:
    assert run_words("dead", "show", 1, "--raw", "--json").status == 64
