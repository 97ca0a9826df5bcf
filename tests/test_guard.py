"""The guard of what a message costs: what it compares, and what it says."""

import json
from pathlib import Path

import pytest

from benchmarks import guard
from benchmarks.guard import Baseline, Measured, verdict
from benchmarks.instructions import PATHS, CountsError, planted, why_no_counts
from benchmarks.programs.guarded import COURSES, REFERENCE, UNIT, run

NOW = Measured("single", 10.0, "100 instr")


class Still:
    """A look that always finds the same, and with a regression planted *slowed*."""

    def __init__(self, ratio: float, slowed: float = 0.0, reason: str = "") -> None:
        self.ratio = ratio
        self.slowed = slowed
        self.reason = reason

    def why_not(self) -> str | None:
        return self.reason or None

    def measure(self) -> list[Measured]:
        return [Measured("single", self.ratio, "")]

    def measure_slowed(self) -> list[Measured]:
        return [Measured("single", self.slowed, "")]


def was(ratio: float, *, build: str | None = None) -> Baseline:
    own = guard._build() if build is None else build
    return Baseline(build=own, ratios={"single": ratio, "cpu": ratio})


@pytest.fixture
def baselines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "guard.json"
    path.write_text(json.dumps({guard._VERSION: was(10.0)}))
    monkeypatch.setattr(guard, "BASELINES", path)
    return path


@pytest.mark.parametrize("course", COURSES)
def test_every_course_can_be_run(course: str) -> None:
    run(COURSES[course], 1)


def test_what_is_planted_is_a_part_of_what_a_message_costs() -> None:
    counts = dict.fromkeys(PATHS, 10_000.0) | {REFERENCE: 1_000.0, UNIT: 50.0}

    assert planted(counts, 10) == dict.fromkeys(PATHS, 20)


@pytest.mark.parametrize("before", [10.0, 9.3, 10.8])
def test_what_is_as_it_was_is_fine(before: float) -> None:
    assert verdict(NOW, was(before)).is_fine


def test_a_regression_is_told_with_what_it_was() -> None:
    told = verdict(NOW, was(9.0))

    assert not told.is_fine
    assert "was 9.000, +11.1%, allowed +8%: TOO MUCH" in told.line


def test_a_gain_is_told_and_is_fine() -> None:
    told = verdict(NOW, was(12.0))

    assert told.is_fine
    assert "cheaper; RENEW=1 keeps the gain" in told.line


def test_another_build_of_python_may_differ_more() -> None:
    assert verdict(NOW, was(9.0, build="another")).is_fine
    assert not verdict(NOW, was(8.0, build="another")).is_fine


def test_cpu_time_may_differ_but_not_double() -> None:
    cpu = Measured("cpu", 10.0, "")

    assert verdict(cpu, was(7.0)).is_fine
    assert not verdict(cpu, was(5.0)).is_fine


@pytest.mark.parametrize("baseline", [None, Baseline(build="", ratios={})])
def test_a_version_that_is_not_known_is_fine(baseline: Baseline | None) -> None:
    told = verdict(NOW, baseline)

    assert told.is_fine
    assert f"nothing is known of Python {guard._VERSION}" in told.line


@pytest.mark.usefixtures("baselines")
def test_a_regression_fails_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert not guard._look(Still(11.0), is_renewed=False, is_proved=True)
    assert "make guard RENEW=1" in capsys.readouterr().out


def test_a_new_cost_is_noted_and_compared_from_then_on(baselines: Path) -> None:
    assert guard._look(Still(11.0), is_renewed=True, is_proved=False)
    assert guard._look(Still(11.0), is_renewed=False, is_proved=False)
    noted = json.loads(baselines.read_text())[guard._VERSION]
    assert noted["ratios"] == {"single": 11.0, "cpu": 10.0}


@pytest.mark.usefixtures("baselines")
@pytest.mark.parametrize(("slowed", "is_fine"), [(10.1, False), (11.2, True)])
def test_a_planted_regression_that_is_not_seen_fails(
    slowed: float, *, is_fine: bool
) -> None:
    look = Still(10.0, slowed)

    assert guard._look(look, is_renewed=False, is_proved=True) is is_fine


def test_what_cannot_be_measured_here_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    look = Still(99.0, reason="there is no valgrind")

    assert guard._look(look, is_renewed=False, is_proved=True)
    assert "not measured: there is no valgrind" in capsys.readouterr().out


class Broken(Still):
    def measure(self) -> list[Measured]:
        raise CountsError("valgrind: exit 1")


def test_a_valgrind_that_does_not_work_here_is_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert guard._look(Broken(9.0), is_renewed=False, is_proved=True)
    assert "not measured: valgrind: exit 1" in capsys.readouterr().out


def test_nothing_is_counted_without_valgrind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    assert why_no_counts() == "there is no valgrind, and no apt-get to install it"


def test_what_each_path_costs_is_noted_for_the_oldest_python() -> None:
    noted = json.loads(guard.BASELINES.read_text())["3.11"]["ratios"]

    assert set(noted) == {*PATHS, guard.CPU, guard.IMPORT}
