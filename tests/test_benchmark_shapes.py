"""More senders, mules and farms than one: who has what, and that all of it comes."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.catalog import benchmarks
from benchmarks.cli import run
from benchmarks.shapes import Shape, Tally

few = st.integers(1, 9)


@given(senders=few, mules=few, farms=st.integers(0, 99))
def test_a_scenario_in_text_is_the_same_shape(
    senders: int, mules: int, farms: int
) -> None:
    shape = Shape(senders, mules, farms)

    assert Shape.parse(str(shape)) == shape


@given(senders=few, count=st.integers(0, 99))
def test_senders_share_all_messages(senders: int, count: int) -> None:
    shape = Shape(senders, 1, 0)
    shares = [shape.share(count, sender) for sender in range(senders)]

    assert sum(shares) == count
    assert max(shares) - min(shares) <= 1


def test_one_farm_has_all_mules_and_of_many_each_has_two() -> None:
    assert Shape(1, 3, 1).members(0) == [0, 1, 2]
    assert [Shape(1, 3, 4).members(farm) for farm in range(4)] == [
        [0, 1],
        [1, 2],
        [0, 2],
        [0, 1],
    ]
    assert Shape(1, 1, 2).members(1) == [0]


def test_a_tally_is_seen_by_whoever_opens_it(tmp_path: Path) -> None:
    mine, theirs = Tally(tmp_path, 2), Tally(tmp_path, 2)

    mine.sizes[0] = 7
    mine.sizes[1] += 5

    assert theirs.total() == 12


@pytest.mark.slow
@pytest.mark.parametrize("name", ["throughput_shapes", "throughput_sizes"])
def test_all_messages_of_pymule_come_in_each_shape_and_size(
    name: str, tmp_path: Path
) -> None:
    path = tmp_path / "figures.json"
    words = ["--messages", "8", "--rounds", "1", "--peers", "pymule"]

    status = run(benchmarks(), [name, *words, "--json", str(path)])

    written = json.loads(path.read_text())["benchmarks"][name]
    assert status == 0
    assert all(table["rows"][0][0] == "pymule" for table in written["tables"][:1])
    played = [one["peers"] for one in written.values() if isinstance(one, dict)]
    assert [one["pymule"]["rounds"][0]["messages"] for one in played] == [8] * len(
        written["plots"][0]["labels"]
    )
