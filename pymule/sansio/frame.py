"""Bytes to frames and back.

Every integer of the protocol is little-endian. A frame is a header and a body::

    0        4         5         6          8
    +--------+---------+---------+----------+----------- - -
    | length | opcode  | flags   | reserved | body
    | u32    | u8      | u8, = 0 | u16, = 0 | length bytes
    +--------+---------+---------+----------+----------- - -
"""

import struct
from enum import IntEnum
from typing import Final, cast

from pymule.errors import FrameTooBigError, RemoteProtocolError

__all__ = (
    "BULK_BYTES",
    "DEFAULT_MAX_FRAME_BYTES",
    "HEADER",
    "Frame",
    "FrameDecoder",
    "Opcode",
    "encode_frame",
)

HEADER: Final = struct.Struct("<IBBH")
_HEADER_BYTES: Final = HEADER.size
_read_header: Final = HEADER.unpack_from
DEFAULT_MAX_FRAME_BYTES: Final = 16 * 1024 * 1024


class Opcode(IntEnum):
    """What a frame carries; the layouts are those of the verbs."""

    HELLO = 1
    WELCOME = 2
    CLOSE = 3
    SUBMIT = 4
    CONFIRM = 5
    REFUSE = 6
    DELIVER = 7
    ACK = 8
    NACK = 9
    RETURN = 10
    LANE = 11
    CREDIT = 12
    READY = 13
    DRAIN = 14
    STACKS = 15
    CALL = 16
    REPLY = 17
    SIGNAL = 18
    HANDLED = 19
    LISTEN = 20


BULK_BYTES: Final = 32 * 1024
"""A body of that size and more, of a verb that carries messages, is not copied out of
what was read, nor its payload into a frame. 1 MiB takes 40 us to copy."""
_BULKY: Final = frozenset({Opcode.SUBMIT, Opcode.DELIVER})

# A plain tuple: a NamedTuple costs 211 ns where this costs 24, and there is one for
# every frame.
Frame = tuple[Opcode, bytes]
"""An opcode and a body; a large one of a verb with messages is a view of bytes."""

# Opcode(n) costs 300 ns and raises ValueError; this costs 17 ns and gives None.
OPCODES: Final = {opcode.value: opcode for opcode in Opcode}


def encode_frame(opcode: Opcode, body: bytes) -> bytes:
    """Return the frame as it goes on the socket."""
    return HEADER.pack(len(body), opcode, 0, 0) + body


class FrameDecoder:
    """Cut a byte stream into frames, however the stream was chopped.

    Args:
        max_frame_bytes: Largest body accepted, in bytes; may be lowered or raised
            between frames.
    """

    def __init__(self, max_frame_bytes: int = DEFAULT_MAX_FRAME_BYTES) -> None:
        self.max_frame_bytes = max_frame_bytes
        # What is not given out yet begins at the offset; nothing when all of it is.
        self._data: bytes | bytearray = b""
        self._offset = 0
        # Bytes of a frame that has not arrived whole; a bytearray, since adding to
        # bytes would copy a large frame once for every read.
        self._partial = bytearray()
        # How many bytes the partial frame must reach before another look pays.
        self._needed = HEADER.size

    @property
    def is_between_frames(self) -> bool:
        """Whether every byte fed so far belonged to a whole frame."""
        return not self._data and not self._partial

    @property
    def buffered_bytes(self) -> int:
        """Bytes that were fed and not given out as frames."""
        return len(self._partial) + len(self._data) - self._offset

    def feed(self, data: bytes) -> None:
        """Add bytes as they came from the socket."""
        if self._data:
            self._keep_rest()
        if self._partial:
            self._partial += data
        else:
            self._data, self._offset = data, 0

    def next_frame(self) -> Frame | None:
        """Return the next whole frame, or ``None`` until more bytes come.

        Raises:
            FrameTooBigError: The header announces more than *max_frame_bytes*;
                nothing of the body was kept.
            RemoteProtocolError: The header is not one of ours.
        """
        if self._partial:
            if len(self._partial) < self._needed:
                return None
            self._data, self._offset = self._partial, 0
            self._partial = bytearray()
            self._needed = HEADER.size
        data = self._data
        start = self._offset + _HEADER_BYTES
        if len(data) < start:
            self._wait_for(_HEADER_BYTES)
            return None
        size, number, flags, reserved = _read_header(data, self._offset)
        opcode = OPCODES.get(number)
        if opcode is None or flags or reserved:
            raise RemoteProtocolError(
                f"not a pymule frame: opcode {number}, flags {flags}, "
                f"reserved {reserved}"
            )
        if size > self.max_frame_bytes:
            raise FrameTooBigError(size, self.max_frame_bytes)
        end = start + size
        if len(data) > end:
            self._offset = end
        elif len(data) == end:
            self._data, self._offset = b"", 0
        else:
            self._wait_for(_HEADER_BYTES + size)
            return None
        if size >= BULK_BYTES and opcode in _BULKY:
            return opcode, cast("bytes", memoryview(data)[start:end])
        return opcode, bytes(data[start:end])

    def _wait_for(self, needed: int) -> None:
        if self._data:
            self._keep_rest()
        self._needed = needed

    def _keep_rest(self) -> None:
        self._partial += memoryview(self._data)[self._offset :]
        self._data, self._offset = b"", 0
