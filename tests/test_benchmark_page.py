"""What benchmarks hand in becomes lines, files and a page, the same way each time."""

import json
from pathlib import Path
from typing import Final

import pytest

from benchmarks.archive import Run, newest
from benchmarks.catalog import benchmarks, peer_names, peer_versions
from benchmarks.page import figures, pictures, refreshed
from benchmarks.report import Answer, Budget, Plot, Table
from benchmarks.surroundings import Surroundings, sentence, surroundings
from benchmarks.text import lines_of

AROUND: Final[Surroundings] = {
    "machine": "2 cores, Z80",
    "kernel": "6.18",
    "python": "3.11.7",
    "versions": {"pymule": "0.1.0", "uwsgi": None},
    "commit": "abc",
    "has_local_changes": True,
}
TABLE: Final = Table(
    "2 rounds", ("", "per s"), (("pymule", "7"), ("a|b", "1")), ("N.",)
)
PLOT: Final = Plot("Speed", "bars", ("pymule", "b"), {"median": (7.0, None)}, "per s")
LINES: Final = Plot("Flat", "lines", ("1", "64"), {"a": (1.0, 2.0)}, "us", is_log=False)
MET: Final = Budget("speed", 2.0, (2.0, 3.0, 1.0), is_ceiling=False)
ANSWER: Final = Answer(
    "throughput",
    "How fast?",
    (TABLE,),
    {"peers": {"pymule": [7.0]}},
    (PLOT, LINES),
    (MET, Budget("lateness", 5, (9.0,), unit="ms"), Budget("never", 1, ())),
    ("b did not run: not here\n[log] noise",),
)


def kept(folder: Path, *answers: Answer, name: str, is_quick: bool = False) -> None:
    run = Run(folder / name, AROUND, is_quick=is_quick)
    for answer in answers:
        run.keep(answer, 1.0)


def test_lines_have_tables_budgets_and_failures() -> None:
    text = "\n".join(lines_of(ANSWER))

    assert "throughput: How fast?\n\n2 rounds\n\n        per s\npymule      7" in text
    assert "speed: 2.00 (1.00 to 3.00); budget at least 2.00: met" in text
    assert "lateness: 9.00 (9.00 to 9.00); budget at most 5.00 ms: missed" in text
    assert "never: -; budget at most 1.00: not measured" in text
    assert "b did not run: not here" in text


def test_an_answer_is_in_the_file_as_soon_as_it_is_there(tmp_path: Path) -> None:
    run = Run(tmp_path / "new" / "a.json", AROUND, is_quick=False)

    run.keep(ANSWER, 1.25)

    (path,) = (tmp_path / "new").iterdir()
    written = json.loads(path.read_text())
    assert written["commit"] == "abc"
    assert written["benchmarks"]["throughput"]["peers"] == {"pymule": [7.0]}
    assert written["benchmarks"]["throughput"]["took_s"] == 1.2


def test_what_is_kept_comes_back_but_for_its_data(tmp_path: Path) -> None:
    kept(tmp_path, ANSWER, name="a.json")

    (found,) = newest(tmp_path).values()

    assert list(lines_of(found.answer)) == list(lines_of(ANSWER))
    assert found.answer.budgets == ANSWER.budgets


def test_the_newest_answer_counts_and_a_quick_one_never(tmp_path: Path) -> None:
    other = Answer("idle", "How often?", (TABLE,))
    late = Answer("throughput", "How fast now?", (TABLE,))
    kept(tmp_path, ANSWER, other, name="1.json")
    old = json.loads((tmp_path / "1.json").read_text())
    (tmp_path / "1.json").write_text(json.dumps({**old, "at": "2001-01-01T00:00:00"}))
    kept(tmp_path, late, Answer("idle", "broken", ()), name="2.json")
    kept(tmp_path, other, ANSWER, name="3.json", is_quick=True)

    found = newest(tmp_path)

    assert found["throughput"].answer.question == "How fast now?"
    assert found["idle"].answer.question == "How often?"


def test_the_page_keeps_what_is_around_its_marks(tmp_path: Path) -> None:
    kept(tmp_path, ANSWER, name="a.json")
    page = "before\n<!-- figures: begin -->\nold\n<!-- figures: end -->\nafter\n"

    made = refreshed(page, newest(tmp_path))

    assert made.startswith("before\n<!-- figures: begin -->\n- 20")
    assert made.endswith("<!-- figures: end -->\nafter\n")
    assert "old" not in made
    assert refreshed(made, newest(tmp_path)) == made


def test_the_page_has_each_table_plot_and_budget(tmp_path: Path) -> None:
    kept(tmp_path, ANSWER, name="a.json")

    made = "\n".join(figures(newest(tmp_path)))

    assert (
        "| lateness | at most 5.00 ms | 9.00 (9.00 to 9.00) ms | **missed** |" in made
    )
    assert "| 2 rounds | per s |\n| --- | ---: |\n| pymule | 7 |\n| a\\|b | 1 |" in made
    assert "![Speed, per s](images/throughput.svg)" in made
    assert "![Flat, us](images/throughput-2.svg)" in made
    assert "Not measured: b did not run: not here\n" in f"{made}\n"


def test_the_same_figures_give_the_same_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    kept(tmp_path, ANSWER, name="a.json")

    once, again = pictures(newest(tmp_path)), pictures(newest(tmp_path))

    assert once == again
    assert sorted(once) == ["throughput-2.svg", "throughput.svg"]
    assert all(b"<svg" in drawn and len(drawn) < 20_000 for drawn in once.values())


def test_a_benchmark_is_a_module_whose_first_line_is_a_question() -> None:
    names = list(benchmarks())

    assert names[0] == "throughput"
    assert {"durable", "durable_turns", "recovery", "idle"} <= set(names)
    assert "cli" not in names


def test_a_peer_of_several_benchmarks_is_named_once() -> None:
    names = peer_names()

    assert {"pymule", "uWSGI mules", "beanstalkd, binlog -f0"} <= set(names)
    assert len(set(names)) == len(names)


def test_peers_say_what_they_run_besides_packages() -> None:
    assert peer_versions()["SQLite"].startswith("3.")


def test_a_machine_without_a_disk_has_surroundings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYMULE_BENCH_DISK", "/dev/shm")  # noqa: S108  (nothing is made)

    assert "no disk at /dev/shm" in sentence(surroundings())


def test_the_surroundings_of_a_run_fit_a_sentence() -> None:
    said = sentence(surroundings())

    assert said.startswith(f"{surroundings()['machine']}, ")
    assert "pymule 0.1.0, uvloop " in said
    assert sentence(AROUND).endswith("commit abc with local changes; pymule 0.1.0")
