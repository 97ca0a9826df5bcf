import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymule.errors import RemoteProtocolError
from pymule.sansio.batch import (
    LENGTH_BYTES,
    MAX_BATCH_COUNT,
    Batch,
    pack_bodies,
    received_bodies,
    unpack_bodies,
)

BODIES = st.lists(st.binary(max_size=20), min_size=1, max_size=12)


@st.composite
def parts(draw: st.DrawFn) -> tuple[list[bytes], int, int]:
    """Bodies, and a first index and a count among them."""
    bodies = draw(BODIES)
    first = draw(st.integers(0, len(bodies) - 1))
    return bodies, first, draw(st.integers(1, len(bodies) - first))


def test_the_lengths_come_first_and_then_the_bodies() -> None:
    payload = pack_bodies([b"ab", b"", b"c"])

    assert payload == b"\x02\0\0\0" + b"\0\0\0\0" + b"\x01\0\0\0" + b"abc"


@given(bodies=BODIES)
def test_bodies_come_back_as_they_were_packed(bodies: list[bytes]) -> None:
    payload = pack_bodies(bodies)

    batch = Batch.received(len(bodies), payload)

    assert unpack_bodies(payload, len(bodies)) == bodies
    assert received_bodies(len(bodies), payload) == bodies
    assert batch.bodies(0, len(bodies)) == bodies
    assert batch.unsettled == batch.count == len(bodies)
    assert batch.payload is payload


@given(parts())
def test_a_part_is_a_batch_of_its_own(
    drawn: tuple[list[bytes], int, int],
) -> None:
    bodies, first, count = drawn
    batch = Batch.of(bodies)

    part = Batch.received(count, batch.part(first, count))

    assert part.bodies(0, count) == bodies[first : first + count]
    assert batch.bodies(first, count) == bodies[first : first + count]


@given(parts(), st.data())
def test_a_split_batch_loses_nothing(
    drawn: tuple[list[bytes], int, int], data: st.DataObject
) -> None:
    bodies, first, count = drawn
    batch = Batch.of(bodies)
    cut = data.draw(st.integers(0, count))

    halves = batch.bodies(first, cut) + batch.bodies(first + cut, count - cut)

    assert halves == bodies[first : first + count]


@given(parts(), st.integers(-10, 300))
def test_what_fits_is_what_a_naive_count_says(
    drawn: tuple[list[bytes], int, int], max_bytes: int
) -> None:
    bodies, first, count = drawn

    fitting = Batch.of(bodies).fitting(first, count, max_bytes)

    naive = 0
    while (
        naive < count
        and len(pack_bodies(bodies[first : first + naive + 1])) <= max_bytes
    ):
        naive += 1
    assert fitting == naive


@pytest.mark.parametrize("count", [0, -1, MAX_BATCH_COUNT + 1, 2**32 - 1])
def test_a_batch_has_a_count_in_bounds(count: int) -> None:
    with pytest.raises(RemoteProtocolError, match=f"batch of {count} messages; allow"):
        Batch.received(count, bytes(100))


def test_the_largest_batch_is_taken() -> None:
    payload = bytes(LENGTH_BYTES * MAX_BATCH_COUNT)

    batch = Batch.received(MAX_BATCH_COUNT, payload)

    assert batch.bodies(MAX_BATCH_COUNT - 1, 1) == [b""]


@given(bodies=BODIES, data=st.data())
def test_a_payload_cut_short_or_too_long_is_refused(
    bodies: list[bytes], data: st.DataObject
) -> None:
    payload = pack_bodies(bodies)
    short = payload[: data.draw(st.integers(0, len(payload) - 1))]
    long = payload + data.draw(st.binary(min_size=1))

    for wrong in (short, long):
        with pytest.raises(RemoteProtocolError, match="batch"):
            Batch.received(len(bodies), wrong)
        with pytest.raises(RemoteProtocolError, match="batch"):
            received_bodies(len(bodies), wrong)


@given(count=st.integers(1, 5), payload=st.binary())
def test_random_bytes_are_a_batch_or_the_fault_of_the_peer(
    count: int, payload: bytes
) -> None:
    try:
        batch = Batch.received(count, payload)
    except RemoteProtocolError:
        return

    assert pack_bodies(batch.bodies(0, count)) == payload
    assert pack_bodies(received_bodies(count, payload)) == payload
