"""The parts of the benchmarks that ask about pymule itself."""

import asyncio
import json
import mmap
import os
import threading
from dataclasses import astuple
from pathlib import Path

import pytest

from benchmarks.catalog import benchmarks
from benchmarks.cli import run
from benchmarks.cpu import cpu_s
from benchmarks.doorbell import Bell, Doorbell
from benchmarks.memory import weight_of
from benchmarks.notes import FOLDER
from benchmarks.peers.pymule_file import refusal_of
from benchmarks.stage import PeerError
from benchmarks.start import Start, start_of
from tests.conftest import MS


def test_the_log_tells_when_the_first_and_the_last_mule_were_ready() -> None:
    log = _log(
        ("0.100", "pymuled listens", None),
        ("0.300", "mule ready", 0.15),
        ("0.500", "mule ready", 0.35),
        ("0.500", "pymuled ready", None),
    )

    found = start_of(log, began=_BEGAN)

    assert found is not None
    assert astuple(found) == pytest.approx(
        astuple(Start(mules=2, first_s=0.3, all_s=0.5, each_ms=200.0, own_ms=250.0)),
        abs=1e-4,
    )


def test_a_start_is_not_over_before_all_are_ready() -> None:
    log = _log(("0.100", "pymuled listens", None), ("0.300", "mule ready", 0.15))

    assert start_of(log, began=_BEGAN) is None


def test_a_mule_that_ends_fails_the_start() -> None:
    with pytest.raises(PeerError, match="a mule ended"):
        start_of(_log(("0.300", "mule exited", None)), began=_BEGAN)


def test_work_is_counted_finer_than_in_hundredths_of_a_second() -> None:
    before = cpu_s(os.getpid())

    sum(range(100_000))
    # The kernel counts when a thread leaves its core, or ticks.
    threading.Event().wait(0.001)

    assert 0 < cpu_s(os.getpid()) - before < 60


def test_what_a_process_writes_is_its_own() -> None:
    before = weight_of(os.getpid())

    # New pages for certain: the heap may have some that were written before.
    kept = mmap.mmap(-1, 2**23, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    kept.write(os.urandom(2**23))

    after = weight_of(os.getpid())
    assert after.own - before.own >= 7
    assert after.rss >= after.pss >= after.own
    assert len(kept) == 2**23


async def test_a_doorbell_is_heard_as_often_as_it_was_rung(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    listening, bell = Doorbell("bell"), Bell("bell")

    for _ in range(3):
        bell.ring()
    await listening.heard(2)
    await listening.heard()
    fourth = asyncio.ensure_future(listening.heard())
    await asyncio.sleep(0)
    was_heard_early = fourth.done()
    bell.ring()
    await fourth

    assert not was_heard_early


@pytest.mark.slow
def test_a_file_that_this_pymule_does_not_know_is_refused_with_the_reason() -> None:
    refusal = refusal_of("no_such_key = 1\n[[mule]]\n")

    assert refusal is not None
    assert "no_such_key" in refusal


@pytest.mark.slow
@pytest.mark.timeout(60_000 * MS)
def test_each_kind_of_call_is_measured_against_an_echo(tmp_path: Path) -> None:
    written = json.loads(
        _asked("calls", tmp_path, "--messages", "1000", "--rounds", "1")
    )

    assert {kind: set(over) for kind, over in written["over_echo"].items()} == {
        "one call after the other": {"pymule", "pymule.sync"},
        "1,000 calls at once": {"pymule"},
        "calls with 1,000 messages": {"pymule", "pymule.sync"},
    }


@pytest.mark.slow
@pytest.mark.timeout(60_000 * MS)
def test_a_start_is_measured_against_a_bare_python(tmp_path: Path) -> None:
    written = json.loads(_asked("start", tmp_path, "--quick", "--messages", "1"))

    (start,) = written["mules"]["1"]["spawn"]
    assert start["mules"] == 1
    assert len(written["one_spawned_over_bare"]) == 1


@pytest.mark.slow
@pytest.mark.timeout(60_000 * MS)
def test_mules_are_weighed_against_a_bare_process(tmp_path: Path) -> None:
    written = json.loads(_asked("memory", tmp_path, "--messages", "1", "--rounds", "1"))

    assert {"mule, spawn", "mule, spawn, heavy"} <= set(written["mule_over_bare_mib"])
    assert "master" in written["mib"]


@pytest.mark.slow
@pytest.mark.timeout(60_000 * MS)
def test_a_turn_of_the_master_is_weighed_at_each_depth(tmp_path: Path) -> None:
    words = ["--quick", "--messages", "100", "--rounds", "1"]

    written = json.loads(_asked("depth", tmp_path, *words))

    sizes = written["growing"]["queued messages"]["one message"]
    assert {size: len(windows) for size, windows in sizes.items()} == {"1": 1, "100": 1}


_BEGAN = 1_700_000_000.0


def _asked(name: str, folder: Path, *words: str) -> str:
    path = folder / "figures.json"
    run(benchmarks(), [name, *words, "--json", str(path)])
    written = json.loads(path.read_text())["benchmarks"][name]
    assert not written.get("failure")
    return json.dumps(written)


def _log(*events: tuple[str, str, float | None]) -> list[str]:
    return [
        json.dumps(
            {
                "ts": f"2023-11-14T22:13:2{second}Z",
                "event": event,
                **({} if start_s is None else {"start_s": start_s}),
            }
        )
        for second, event, start_s in events
    ]
