"""The benchmarks of job libraries: small runs, and what they are made of."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from benchmarks import jobs, loop_delay, slow, web
from benchmarks.cli import run
from benchmarks.jobs import Amounts
from benchmarks.mixture import FAST_S, SLOW_EACH, SLOW_S, ideal_s, is_fast, nap_of
from benchmarks.peers import job_libraries, pymule_jobs
from benchmarks.programs.web_load import Client
from benchmarks.rounds import Peer
from benchmarks.sheet import WARM_UP_JOBS, Sheet
from benchmarks.stage import PeerError

TINY = ["--messages", "20", "--rounds", "1"]


def written_by(name: str, path: Path) -> dict[str, dict[str, list[dict[str, float]]]]:
    peers = json.loads(path.read_text())["benchmarks"][name]["peers"]
    assert isinstance(peers, dict)
    return peers


@pytest.mark.slow
def test_every_job_of_a_round_is_done_and_every_way_to_send_is_timed(
    tmp_path: Path,
) -> None:
    path = tmp_path / "figures.json"

    status = run(
        {"jobs": jobs.answer}, ["jobs", *TINY, "--peers", "pymule", "--json", str(path)]
    )

    assert status == 0
    (played,) = written_by("jobs", path)["pymule"]["rounds"]
    assert played["jobs"] == 20
    assert min(played[way] for way in ("one_by_one", "gathered", "in_bulk")) > 0


@pytest.mark.slow
def test_the_pulse_of_a_loop_that_sends_is_felt(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    words = ["--quick", "--peers", "pymule, confirmed", "--json", str(path)]

    status = run({"loop_delay": loop_delay.answer}, ["loop_delay", *words])

    assert status == 0
    (played,) = written_by("loop_delay", path)["pymule, confirmed"]["rounds"]
    assert [*played] == ["at"]


@pytest.mark.slow
def test_each_request_is_answered_and_its_job_done(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    words = ["--quick", *TINY, "--peers", "BackgroundTasks", "--json", str(path)]

    status = run({"web": web.answer}, ["web", *words])

    assert status == 0
    (played,) = written_by("web", path)["BackgroundTasks"]["rounds"]
    assert played["flood_per_s"] > 0
    assert played["done"] > 0


def test_a_library_that_has_its_own_folder_is_missed_when_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))

    with pytest.raises(PeerError, match="no arq here; make bench installs it"):
        job_libraries.ARQ.python()


def test_every_peer_has_its_amounts() -> None:
    peers: list[Peer] = [*pymule_jobs.VARIANTS, *job_libraries.VARIANTS]

    assert jobs.AMOUNTS.keys() == {peer.NAME for peer in peers}


def test_fewer_jobs_are_at_least_one_of_each_kind_that_there_is() -> None:
    assert Amounts(300, 30, 7).over(20) == Amounts(15, 2, 1, 0)


def test_the_rows_of_a_sheet_are_seen_by_all_who_have_it(tmp_path: Path) -> None:
    ours, theirs = Sheet(tmp_path, 3), Sheet(tmp_path, 3)

    theirs.ended[WARM_UP_JOBS + 1] = 7.0

    assert ours.measured(ours.ended) == [0.0, 7.0, 0.0]
    assert ours.measured(ours.began) == [0.0, 0.0, 0.0]


def test_jobs_are_done_up_to_the_first_that_is_not(tmp_path: Path) -> None:
    sheet = Sheet(tmp_path, 0)

    for row in (0, 1, 3):
        sheet.ended[row] = 1.0

    assert sheet.done_before(2) == 2
    assert sheet.done_before(WARM_UP_JOBS) == 2


def test_every_tenth_mixed_job_is_slow() -> None:
    naps = [nap_of(place) for place in range(SLOW_EACH * 2)]

    assert naps == [*[FAST_S] * 9, SLOW_S] * 2


def test_eight_slots_need_two_turns_for_nine_jobs() -> None:
    assert ideal_s(8) * 2 == ideal_s(9) == pytest.approx(0.1)


def test_a_farm_is_judged_by_its_last_job_and_by_the_waits_of_fast_ones(
    tmp_path: Path,
) -> None:
    sheet = Sheet(tmp_path, 8 + SLOW_EACH)
    for row in range(WARM_UP_JOBS, WARM_UP_JOBS + 8):
        sheet.ended[row], sheet.worker[row] = 10.06, row % 2
    first = WARM_UP_JOBS + 8
    for place in range(SLOW_EACH):
        sheet.planned[first + place] = 20.0
        sheet.began[first + place] = 20.001 if is_fast(place) else 29.0

    played = slow.judge(sheet, 8, start=10.0, cpu_s=0.018)

    assert played.over_ideal == pytest.approx(1.2)
    assert (played.least_by_one, played.most_by_one) == (4, 4)
    assert played.wait_max_ms == pytest.approx(1.0)
    assert played.cpu_us == pytest.approx(1000)


def answered(*pieces: bytes) -> bytes:
    async def ask() -> bytes:
        client = Client()
        answer = client.expect()
        for piece in pieces:
            client.data_received(piece)
        return await answer

    return asyncio.run(ask())


def test_an_answer_is_whole_when_all_of_its_body_is_there() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"

    assert answered(head[:20], head[20:] + b"ab", b"cd") == b"abcd"


def test_an_answer_that_is_no_success_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="404"):
        answered(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
