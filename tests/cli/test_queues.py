import pytest

from pymule.cli.queues import counted
from tests.cli.queue_run import Runs


def test_queues_are_shown_as_a_table_and_as_json(run_words: Runs) -> None:
    run_words.desk.submit("mule", b"x")

    shown = run_words("queues")
    rows = run_words("queues", "--json").rows

    assert (shown.status, shown.err) == (0, "")
    assert shown.out.splitlines()[1].split() == [
        *("mule", "1", "0", "0", "0", "1m", "1s", "memory", "open"),
    ]
    assert [row["target"] for row in rows] == ["mule", "farm:busy"]


def test_a_look_shows_and_takes_nothing(run_words: Runs) -> None:
    (first, _) = run_words.desk.submit("mule", b"a\x1b[2J\nb", b"x" * 300)

    shown = run_words("peek", "mule")
    rows = run_words("peek", "mule", "--json", "-n1").rows

    assert (shown.status, shown.err) == (0, "")
    _, one, two = shown.out.splitlines()
    assert one.endswith(r"  a\x1b[2J\x0ab")
    assert two.endswith("  300 B  " + "x" * 200 + "...")
    assert [(row["id"], row["body"]) for row in rows] == [(first, "a\x1b[2J\nb")]
    assert run_words.desk.router.queues["mule"].ready_count == 2


def test_a_whole_body_is_shown_when_asked_for(run_words: Runs) -> None:
    run_words.desk.submit("mule", b"x" * 100_000)

    assert run_words("peek", "mule", "--full").out.endswith("  " + "x" * 100_000 + "\n")


def test_an_empty_queue_shows_the_titles_alone(run_words: Runs) -> None:
    assert run_words("peek", "mule").out.split() == [
        *("ID", "STATE", "DUE", "ATTEMPTS", "PRIORITY", "AGE", "SIZE", "BODY"),
    ]
    assert run_words("peek", "mule", "--json").rows == []


def test_a_purge_asks_and_says_how_many(run_words: Runs) -> None:
    run_words.desk.submit("mule", b"1", b"2")
    queue = run_words.desk.router.queues["mule"]

    refused = run_words("purge", "mule", typed="n\n")
    assert (refused.status, queue.count) == (1, 2)
    assert refused.err == "purge 2 messages of mule? [y/N] pymule: nothing done\n"

    done = run_words("purge", "mule", typed="y\n")
    assert (done.status, queue.count) == (0, 0)
    assert done.out == "purged 2 messages\n"


def test_a_purge_without_a_person_needs_a_yes(run_words: Runs) -> None:
    run_words.desk.submit("mule", b"1")

    refused = run_words("purge", "mule")
    assert refused.status == 64
    assert "--yes purges the queue without asking" in refused.err
    assert not run_words.master.calls

    assert run_words("purge", "mule", "--yes").out == "purged 1 message\n"
    assert run_words("purge", "mule", "--yes", "--json").json == {
        "queue": "mule",
        "purged": 0,
    }


def test_a_queue_is_paused_and_resumed(run_words: Runs) -> None:
    queue = run_words.desk.router.queues["farm:busy"]

    paused = run_words("pause", "farm_busy")
    assert (paused.status, paused.out, queue.is_paused) == (0, "", True)
    assert "  paused\n" in run_words("queues").out
    resumed = run_words("resume", "farm:busy", "--json")
    assert resumed.json == {"queue": "farm:busy", "paused": False}
    assert not queue.is_paused
    again = run_words("pause", "farm:busy", "--json")
    assert again.json == {"queue": "farm:busy", "paused": True}
    assert run_words("resume", "farm:busy").out == ""


@pytest.mark.parametrize("command", ["peek", "purge --yes", "pause", "resume"])
def test_an_unknown_queue_is_65_and_the_known_are_named(
    command: str, run_words: Runs
) -> None:
    name, *options = command.split()

    run = run_words(name, "mule9", *options)

    assert (run.status, run.out) == (65, "")
    assert run.err == (
        "pymule: no queue for target 'mule9'; there are: mule, farm:busy\n"
    )


def test_to_purge_what_is_not_there_is_not_asked_about(run_words: Runs) -> None:
    run = run_words("purge", "mule9", typed="y\n")

    assert run.status == 65
    assert "[y/N]" not in run.err


def test_one_is_not_many() -> None:
    assert counted(1, "message") == "1 message"
    assert counted(0, "message") == "0 messages"
