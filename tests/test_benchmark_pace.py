"""Latencies of messages at planned instants."""

import json
from pathlib import Path

import pytest

from benchmarks.catalog import benchmarks
from benchmarks.cli import run
from benchmarks.latency import tail
from benchmarks.notes import FOLDER, SCENARIO, read_note, stamped
from benchmarks.pace import Arrivals, Phase, phases_of, scenario_of
from tests.conftest import MS


def test_messages_are_planned_at_equal_distances() -> None:
    assert list(Phase(rate=4, count=3).instants(10.0)) == [10.0, 10.25, 10.5]


def test_the_error_of_a_plan_does_not_grow() -> None:
    phase = Phase(rate=10_000, count=100_001)

    *_, last = phase.instants(0.0)

    assert last == 10.0


def test_a_scenario_tells_its_phases() -> None:
    phases = [Phase(1, 4), Phase(10_000, 500)]

    assert phases_of(scenario_of(phases)) == phases


def test_a_message_that_left_late_was_under_way_since_it_was_due(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    monkeypatch.setenv(SCENARIO, "100x1")

    Arrivals().add(stamped(planned=5.0, sent=5.5), 6.0)

    assert read_note(tmp_path, "arrived-0") == {"latencies": [1.0], "lateness": [0.5]}


def test_each_phase_has_a_note_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    monkeypatch.setenv(SCENARIO, "100x1 200x2")
    arrivals = Arrivals()

    for _ in range(2):
        arrivals.add(stamped(0.0, 0.0), 1.0)
    is_over_early = arrivals.is_over
    arrivals.add(stamped(0.0, 0.0), 2.0)

    assert (is_over_early, arrivals.is_over) == (False, True)
    second = read_note(tmp_path, "arrived-1")
    assert second is not None
    assert second["latencies"] == [1.0, 2.0]


def test_a_tail_is_not_told_from_too_few_messages() -> None:
    found = tail([float(value) for value in range(1, 101)])

    assert found == {"p50": 50, "p90": 90, "p99": 99, "p99.9": None, "max": 100}


@pytest.mark.slow
@pytest.mark.timeout(60_000 * MS)
def test_latency_is_measured_both_ways_and_at_each_rate(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    words = ["--quick", "--messages", "20", "--rounds", "1", "--peers", "pymule"]

    run(benchmarks(), ["latency", *words, "--json", str(path)])

    written = json.loads(path.read_text())["benchmarks"]["latency"]

    counts = {
        title: part["peers"]["pymule"]["messages"]
        for title, part in written["parts"].items()
    }
    assert counts == {
        "one way, 4 messages/s": 2,
        "one way, 100 messages/s": 10,
        "one way, 10,000 messages/s": 20,
        "there and back, 4 messages/s": 2,
        "there and back, 100 messages/s": 10,
        "there and back, 10,000 messages/s": 20,
    }
