"""The benchmarks run, with numbers too small to mean anything."""

import json
import os
import threading
from pathlib import Path

import pytest

from benchmarks.catalog import benchmarks
from benchmarks.cli import run
from benchmarks.disk import disk_folder, file_system, used_bytes
from benchmarks.idle import wakeups
from benchmarks.peers import beanstalkd, pymule, redis_server, uwsgi
from benchmarks.report import Answer, over, percentile, ratios
from benchmarks.rounds import Options, play
from benchmarks.stage import PeerError, Stage
from benchmarks.text import table

BENCHMARKS = benchmarks()
TINY = ["--messages", "20", "--rounds", "1", "--peers", "pymule"]


@pytest.mark.slow
def test_a_benchmark_of_pymule_alone_prints_and_writes_its_figures(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "figures.json"

    # By itself: its name would stand for its group, too.
    alone = {"throughput": BENCHMARKS["throughput"]}
    status = run(alone, [*TINY, "--json", str(path)])

    written = json.loads(path.read_text())["benchmarks"]["throughput"]
    assert status == 0
    assert written["question"] in capfd.readouterr().out
    assert [one["messages"] for one in written["peers"]["pymule"]["rounds"]] == [20]


@pytest.mark.slow
def test_every_kill_is_followed_by_a_recovery(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"

    status = run(BENCHMARKS, ["recovery", "--messages", "2", "--json", str(path)])

    written = json.loads(path.read_text())["benchmarks"]["recovery"]
    assert status == 0
    assert written["failure"] is None
    assert len(written["ms"]) == 2


@pytest.mark.slow
def test_a_lock_is_measured_against_an_echo(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"

    status = run(
        BENCHMARKS,
        ["locks", "--messages", "20", "--rounds", "1", "--json", str(path)],
    )

    written = json.loads(path.read_text())["benchmarks"]["locks"]
    assert status == 0
    assert written["failure"] is None
    assert len(written["p50_over_echo"]) == 1


@pytest.mark.slow
@pytest.mark.parametrize("peer", ["pymule", "pymule, a def handler"])
def test_each_raise_is_paired_with_its_handler(peer: str, tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    words = ["--messages", "20", "--rounds", "1", "--peers", peer]

    status = run(BENCHMARKS, ["signals", *words, "--json", str(path)])

    written = json.loads(path.read_text())["benchmarks"]["signals"]
    assert status == 0
    assert [one["raises"] for one in written["peers"][peer]["rounds"]] == [20]


@pytest.mark.slow
def test_no_timer_of_pymule_is_early(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    words = ["--quick", "--messages", "1000", "--rounds", "1"]

    status = run(BENCHMARKS, ["timers", *words, "--json", str(path)])

    written = json.loads(path.read_text())["benchmarks"]["timers"]
    assert status == 0
    (ours,) = written["sides"]["pymule's ticker"]
    assert ours["least_us"] >= 0


@pytest.mark.slow
def test_wake_ups_are_counted_for_the_master_and_its_mules(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    words = ["--quick", "--messages", "3", "--rounds", "1"]

    status = run(BENCHMARKS, ["idle", *words, "--json", str(path)])

    written = json.loads(path.read_text())["benchmarks"]["idle"]
    assert status == 0
    assert {name: len(found) for name, found in written["wakeups"].items()} == {
        "master": 1,
        "8 mules together": 1,
    }


@pytest.mark.slow
@pytest.mark.parametrize("peer", ["pymule, memory", "write + fdatasync, appended"])
def test_each_confirm_is_timed(peer: str, tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    words = ["--messages", "20", "--rounds", "1", "--peers", peer]

    status = run(BENCHMARKS, ["durable_turns", *words, "--json", str(path)])

    written = json.loads(path.read_text())["benchmarks"]["durable_turns"]
    assert status == 0
    assert " on " in written["tables"][0]["title"]
    assert [one["messages"] for one in written["peers"][peer]["rounds"]] == [20]


@pytest.mark.slow
def test_a_killed_master_leaves_everything_to_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    words = ["--messages", "20", "--rounds", "1", "--peers", "pymule, disk"]

    status = run(BENCHMARKS, ["durable_backlog", *words, "--json", str(path)])

    backlog = json.loads(path.read_text())["benchmarks"]["durable_backlog"]
    assert status == 0
    assert backlog["failure"] is None
    assert [len(played) for played in backlog["sides"].values()] == [1, 1]


def test_state_is_kept_on_a_disk_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYMULE_BENCH_DISK", "/dev/shm")  # noqa: S108  (nothing is made)

    with pytest.raises(OSError, match="no disk at /dev/shm"):
        disk_folder()


def test_a_file_system_is_named_with_its_device() -> None:
    assert file_system(Path("/proc/self")) == "proc on proc"


def test_all_that_is_below_a_folder_takes_room(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    before = used_bytes(tmp_path)

    (tmp_path / "inner" / "file").write_bytes(bytes(4096))

    assert used_bytes(tmp_path) >= before + 4096


def test_a_missing_beanstalkd_is_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "figures.json"
    words = ["--messages", "1", "--rounds", "1", "--peers", beanstalkd.SYNCED.NAME]
    monkeypatch.setattr("shutil.which", lambda *_args, **_keywords: None)

    alone = {"durable": BENCHMARKS["durable"]}
    status = run(alone, [*words, "--json", str(path)])

    written = json.loads(path.read_text())["benchmarks"]["durable"]
    assert status == 1
    assert written["peers"][beanstalkd.SYNCED.NAME]["failure"].startswith(
        "did not run: no beanstalkd here"
    )


def test_a_missing_redis_fails_the_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_args, **_keywords: None)

    with Stage() as stage, pytest.raises(PeerError, match="no redis-server here"):
        redis_server.redis_running(stage)


def test_a_sleep_is_counted_as_a_wake_up() -> None:
    before = wakeups(os.getpid())

    threading.Event().wait(0.01)

    assert wakeups(os.getpid()) > before


def test_a_stage_leaves_no_process_and_no_file_behind() -> None:
    with Stage() as stage:
        pid = stage.start("sleeper", "sleep", "60")
        folder = stage.folder

    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_process_that_ends_badly_fails_its_round_with_what_it_said() -> None:
    with Stage() as stage:
        stage.start("broken", "sh", "-c", "echo no luck; exit 3")

        with pytest.raises(PeerError, match=r"broken ended with 3\n\[broken\] no luck"):
            stage.wait("never")


def test_a_note_that_does_not_come_fails_the_round() -> None:
    with Stage() as stage, pytest.raises(PeerError, match="no note 'never' within 0 s"):
        stage.wait("never", within=0)


def test_a_peer_that_does_not_run_is_reported_and_the_others_go_on() -> None:

    def round_of(peer: object) -> int:
        if peer is uwsgi:
            raise PeerError("not here")
        return 7

    outcomes = play([pymule, uwsgi], 2, round_of)

    assert outcomes["pymule"].rounds == [7, 7]
    assert outcomes["uWSGI mules"].failure == "did not run: not here"


def test_an_unknown_benchmark_is_named_with_those_that_exist(
    capfd: pytest.CaptureFixture[str],
) -> None:
    status = run(BENCHMARKS, ["speed"])

    assert status == os.EX_USAGE
    assert "no benchmark speed; there are throughput, " in capfd.readouterr().err


def test_the_environment_can_name_the_benchmark(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ONLY", "nothing")

    run(BENCHMARKS, [])

    assert "no benchmark nothing" in capfd.readouterr().err


def test_a_name_stands_for_its_group(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = []

    def answer(name: str) -> Answer:
        asked.append(name)
        return Answer(name, "Which?", ())

    made = {
        name: lambda _options, name=name: answer(name)
        for name in ("disk", "disk_turns", "diskette")
    }
    monkeypatch.setenv("ONLY", "disk_turns,disk")

    status = run(made, ["--json", str(tmp_path / "a.json")])

    assert status == 0
    assert asked == ["disk_turns", "disk"]


def test_a_broken_benchmark_fails_the_run_and_leaves_the_others(tmp_path: Path) -> None:
    path = tmp_path / "a.json"

    def breaks(_options: Options) -> Answer:
        raise ZeroDivisionError("by zero")

    def answers(_options: Options) -> Answer:
        return Answer("second", "Which?", ())

    status = run({"first": breaks, "second": answers}, ["--json", str(path)])

    written = json.loads(path.read_text())["benchmarks"]
    assert status == 1
    assert written["first"]["failures"] == [
        "first is broken: ZeroDivisionError: by zero"
    ]
    assert written["second"]["failures"] == []


def test_small_numbers_can_be_asked_for_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "a.json"

    def answers(options: Options) -> Answer:
        assert options.is_quick
        return Answer("one", "Which?", ())

    monkeypatch.setenv("QUICK", "1")

    assert run({"one": answers}, ["--json", str(path)]) == 0
    assert json.loads(path.read_text())["is_quick"]


def test_a_percentile_is_one_of_the_values() -> None:
    values = [5.0, 1.0, 4.0, 2.0, 3.0]

    assert [percentile(values, share) for share in (0, 0.5, 0.99)] == [1, 3, 5]


def test_ratios_are_taken_round_by_round() -> None:
    assert ratios([4.0, 9.0], [2.0, 3.0]) == [2.0, 3.0]
    assert over([4.0, 9.0], [2.0, 3.0]) == "2.50 (2.00 to 3.00)"


def test_a_peer_that_failed_has_no_ratio() -> None:
    assert over([4.0, 9.0], []) == "-"


def test_a_table_lines_its_columns_up() -> None:
    assert table(("", "ms"), [("pymule", "7")]) == ("        ms", "pymule   7")
