"""More senders, mules and farms than one: who has what, and that all of it comes."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import throughput_shapes, throughput_sizes
from benchmarks.floods import Round, flood
from benchmarks.peers import pymule, uwsgi_yielding
from benchmarks.rounds import Options, Peer
from benchmarks.shapes import Shape, Tally
from benchmarks.stage import PeerError

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
def test_all_messages_come_in_whatever_shape() -> None:
    shape = Shape(senders=2, mules=3, farms=4)

    played = throughput_shapes.play_shape(throughput_shapes.SIDES[0], shape, 9)

    assert played.messages == 9


@pytest.mark.slow
def test_all_bytes_of_large_messages_come() -> None:
    assert flood(pymule, 3, size=2**20).messages == 3


def test_no_large_message_is_asked_of_uwsgi(monkeypatch: pytest.MonkeyPatch) -> None:
    def played(peer: Peer, count: int, size: int) -> Round:
        assert peer is not uwsgi_yielding or size <= 65_536
        return Round(count, 1.0, count * 1.0, 1.0, None, 1.0)

    monkeypatch.setattr(throughput_sizes, "flood", played)

    found = throughput_sizes.answer(Options(rounds=1, messages=5))

    rows = {row[0]: row[1:] for row in found.tables[0].rows}
    assert rows["pymule"] == ("5 (5 to 5)",) * 5
    assert rows["uWSGI, yielding"] == ("5 (5 to 5)",) * 4 + ("too large for it",)
    assert found.plots[0].series["uWSGI, yielding"][-1] is None


def test_each_shape_has_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    def played(peer: Peer, _shape: Shape, count: int) -> throughput_shapes.Round:
        if peer.NAME.startswith("ZeroMQ"):
            raise PeerError("not here")
        return throughput_shapes.Round(count, 1.0, count * 1.0, 0.5)

    monkeypatch.setattr(throughput_shapes, "play_shape", played)

    found = throughput_shapes.answer(Options(rounds=2, messages=5))

    assert [table.rows[0] for table in found.tables] == [
        ("pymule", "5", "5 to 5", "1", "0.50")
    ] * 3
    assert found.failures[0].startswith("4 senders, 1 mule: ZeroMQ, blocking did not")
