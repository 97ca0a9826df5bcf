import random
import struct
from itertools import pairwise
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymule.errors import FrameTooBigError, RemoteProtocolError
from pymule.sansio.frame import HEADER, Frame, FrameDecoder, Opcode, encode_frame

FRAMES = st.lists(st.tuples(st.sampled_from(Opcode), st.binary(max_size=40)))
ONE_FRAME: Final = encode_frame(Opcode.CALL, b"body")


def decode(chunks: list[bytes], decoder: FrameDecoder | None = None) -> list[Frame]:
    decoder = decoder or FrameDecoder()
    frames = []
    for chunk in chunks:
        decoder.feed(chunk)
        while (frame := decoder.next_frame()) is not None:
            frames.append(frame)
    return frames


def chop(stream: bytes, cuts: list[int]) -> list[bytes]:
    return [stream[a:b] for a, b in pairwise([0, *sorted(cuts), len(stream)])]


def test_a_frame_is_eight_bytes_and_a_body() -> None:
    frame = encode_frame(Opcode.READY, b"abc")

    assert frame == b"\x03\x00\x00\x00\x0d\x00\x00\x00abc"


@given(sent=FRAMES, data=st.data())
def test_any_chopping_of_the_stream_gives_the_same_frames(
    sent: list[Frame], data: st.DataObject
) -> None:
    stream = b"".join(encode_frame(*frame) for frame in sent)
    cuts = data.draw(st.lists(st.integers(0, len(stream))))
    decoder = FrameDecoder()

    assert decode(chop(stream, cuts), decoder) == sent
    assert decoder.is_between_frames


@given(sent=FRAMES, data=st.data())
def test_frames_may_be_asked_for_long_after_the_bytes_came(
    sent: list[Frame], data: st.DataObject
) -> None:
    stream = b"".join(encode_frame(*frame) for frame in sent)
    decoder = FrameDecoder()
    got = []
    for chunk in chop(stream, data.draw(st.lists(st.integers(0, len(stream))))):
        decoder.feed(chunk)
        if data.draw(st.booleans()) and (frame := decoder.next_frame()):
            got.append(frame)

    assert got + decode([b""], decoder) == sent


@pytest.mark.parametrize("length", range(len(ONE_FRAME)))
def test_a_frame_cut_short_at_any_byte_is_no_frame(length: int) -> None:
    decoder = FrameDecoder()

    assert decode([ONE_FRAME[:length]], decoder) == []
    assert decoder.is_between_frames == (length == 0)
    assert decode([ONE_FRAME[length:]], decoder) == [(Opcode.CALL, b"body")]


def test_a_body_as_large_as_allowed_passes_and_one_byte_more_does_not() -> None:
    fits, too_big = (encode_frame(Opcode.CALL, bytes(size)) for size in (100, 101))

    assert len(decode([fits], FrameDecoder(max_frame_bytes=100))) == 1
    with pytest.raises(FrameTooBigError, match="max_frame_bytes is 100") as caught:
        decode([too_big], FrameDecoder(max_frame_bytes=100))
    assert (caught.value.size, caught.value.limit) == (101, 100)


def test_a_length_of_4_gib_is_refused_before_its_body_comes() -> None:
    decoder = FrameDecoder()

    with pytest.raises(FrameTooBigError):
        decode([HEADER.pack(2**32 - 1, Opcode.SUBMIT, 0, 0)], decoder)


def test_the_limit_may_change_between_two_frames() -> None:
    decoder = FrameDecoder(max_frame_bytes=0)
    frame = encode_frame(Opcode.CALL, bytes(10))

    decoder.feed(encode_frame(Opcode.READY, b"") + frame)
    first = decoder.next_frame()
    decoder.max_frame_bytes = 10

    assert first == (Opcode.READY, b"")
    assert decoder.next_frame() == (Opcode.CALL, bytes(10))


@pytest.mark.parametrize(
    "header",
    [
        HEADER.pack(0, 0, 0, 0),
        HEADER.pack(0, max(Opcode) + 1, 0, 0),
        HEADER.pack(0, 255, 0, 0),
        HEADER.pack(0, Opcode.CALL, 1, 0),
        HEADER.pack(0, Opcode.CALL, 0, 1),
        b"GET / HT",
    ],
    ids=repr,
)
def test_a_header_that_is_not_ours_ends_it(header: bytes) -> None:
    decoder = FrameDecoder()
    decoder.feed(header)

    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match="not a pymule frame"):
            decoder.next_frame()


@given(chunks=st.lists(st.binary()))
def test_random_bytes_give_frames_or_the_fault_of_the_peer(chunks: list[bytes]) -> None:
    limit = 64
    decoder = FrameDecoder(max_frame_bytes=limit)

    for chunk in chunks:
        decoder.feed(chunk)
        try:
            while decoder.next_frame() is not None:
                pass
        except RemoteProtocolError:
            return
        assert len(decoder._partial) + len(decoder._data) < HEADER.size + limit


def test_thousands_of_damaged_streams_give_frames_or_the_fault_of_the_peer() -> None:
    draw = random.Random(2)  # noqa: S311  (the same streams each time)
    good = b"".join(encode_frame(opcode, bytes(opcode)) for opcode in Opcode)

    for _ in range(5000):
        stream = bytearray(good)
        for _ in range(draw.randint(1, 4)):
            stream[draw.randrange(len(stream))] = draw.randrange(256)
        try:
            frames = decode(chop(bytes(stream), [draw.randrange(len(stream))]))
        except RemoteProtocolError:
            continue
        assert sum(HEADER.size + len(body) for _, body in frames) <= len(stream)


def test_a_large_frame_in_many_small_pieces_is_put_together_once() -> None:
    body = bytes(range(256)) * 4096
    stream = encode_frame(Opcode.SUBMIT, body)
    pieces = [stream[at : at + 1000] for at in range(0, len(stream), 1000)]

    assert decode(pieces) == [(Opcode.SUBMIT, body)]


@given(tail=st.binary(max_size=9_000), step=st.integers(1_000, 50_000))
def test_a_large_body_is_a_view_of_what_was_read(tail: bytes, step: int) -> None:
    body = bytes(range(256)) * 160
    stream = encode_frame(Opcode.SUBMIT, body) + encode_frame(Opcode.CALL, tail)
    decoder = FrameDecoder()
    frames = []
    for start in range(0, len(stream), step):
        decoder.feed(stream[start : start + step])
        while (frame := decoder.next_frame()) is not None:
            frames.append(frame)

    (opcode, view), other = frames
    assert (opcode, bytes(view)) == (Opcode.SUBMIT, body)
    assert other == (Opcode.CALL, tail)
    assert [type(one).__name__ for _, one in frames] == ["memoryview", "bytes"]


def test_the_header_is_little_endian_on_every_machine() -> None:
    assert HEADER.format == "<IBBH"
    assert struct.calcsize("<IBBH") == 8
