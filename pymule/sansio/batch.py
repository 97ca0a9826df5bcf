"""Many messages as one piece of bytes.

All lengths come first, so that sender and receiver handle them with one call each,
and so that the master need not look at the bodies::

    +----------------------+--------+--------+-- - -
    | lengths              | body 0 | body 1 | ...
    | count times u32      |        |        |
    +----------------------+--------+--------+-- - -
"""

import struct
from collections.abc import Sequence
from typing import Final

from pymule.errors import RemoteProtocolError

__all__ = (
    "LENGTH_BYTES",
    "MAX_BATCH_COUNT",
    "Batch",
    "pack_bodies",
    "received_bodies",
    "unpack_bodies",
)

LENGTH_BYTES: Final = 4
MAX_BATCH_COUNT: Final = 65_536
"""Messages in one batch, at most."""


def pack_bodies(bodies: Sequence[bytes]) -> bytes:
    """Return the payload of a batch of *bodies*."""
    if len(bodies) == 1:
        return len(bodies[0]).to_bytes(LENGTH_BYTES, "little") + bodies[0]
    # One pack and one join: 44 ns a message; a pack for each one: 150.
    lengths = struct.pack(f"<{len(bodies)}I", *map(len, bodies))
    return b"".join((lengths, *bodies))


def unpack_bodies(payload: bytes, count: int) -> list[bytes]:
    """Return the *count* bodies of a payload that is known to be well formed."""
    if count == 1:
        return [payload[LENGTH_BYTES:]]
    bodies = []
    start = count * LENGTH_BYTES
    for length in struct.unpack_from(f"<{count}I", payload):
        end = start + length
        bodies.append(payload[start:end])
        start = end
    return bodies


def received_bodies(count: int, payload: bytes) -> list[bytes]:
    """Return the bodies of a batch from a peer, who may be wrong.

    Raises:
        RemoteProtocolError: Count, lengths and size do not agree.
    """
    return unpack_bodies(Batch.received(count, payload).payload, count)


class Batch:
    """A payload that does not change, and how much of it is still wanted.

    Args:
        count: Messages in *payload*, from 1.
        payload: Lengths and bodies, laid out as above.
    """

    __slots__ = ("cost", "count", "payload", "row", "unsettled")

    def __init__(self, count: int, payload: bytes) -> None:
        self.count = count
        self.payload = payload
        # Messages not yet done: the bytes are given back when this reaches zero.
        self.unsettled = count
        # What it counts in its queue, in bytes.
        self.cost = 0
        # Under which number a journal keeps it; 0: in memory only.
        self.row = 0

    @classmethod
    def of(cls, bodies: Sequence[bytes]) -> "Batch":
        """Make a batch of *bodies*."""
        return cls(len(bodies), pack_bodies(bodies))

    @classmethod
    def received(cls, count: int, payload: bytes) -> "Batch":
        """Take a batch from a peer, who may be wrong.

        Raises:
            RemoteProtocolError: Count, lengths and size do not agree.
        """
        size = len(payload) - LENGTH_BYTES
        if count == 1 and int.from_bytes(payload[:LENGTH_BYTES], "little") == size:
            return cls(1, payload)
        if not 0 < count <= MAX_BATCH_COUNT:
            raise RemoteProtocolError(
                f"batch of {count} messages; allowed: 1 to {MAX_BATCH_COUNT}"
            )
        head = count * LENGTH_BYTES
        if len(payload) < head:
            raise RemoteProtocolError(
                f"batch of {count} messages in {len(payload)} bytes"
            )
        told = head + sum(struct.unpack_from(f"<{count}I", payload))
        if told != len(payload):
            raise RemoteProtocolError(
                f"batch lengths add up to {told} bytes; the payload has {len(payload)}"
            )
        return cls(count, payload)

    def part(self, first: int, count: int) -> bytes:
        """Return the payload of *count* messages from index *first*."""
        if count == self.count:
            return self.payload
        head = self.count * LENGTH_BYTES
        lengths = struct.unpack_from(f"<{first + count}I", self.payload)
        start = head + sum(lengths[:first])
        end = start + sum(lengths[first:])
        return (
            self.payload[first * LENGTH_BYTES : (first + count) * LENGTH_BYTES]
            + self.payload[start:end]
        )

    def bodies(self, first: int, count: int) -> list[bytes]:
        """Return *count* bodies from index *first*."""
        return unpack_bodies(self.part(first, count), count)

    def fitting(self, first: int, count: int, max_bytes: int) -> int:
        """Tell how many of *count* messages from *first* fit in *max_bytes*.

        Each one costs its body and its length field.
        """
        lengths = struct.unpack_from(f"<{first + count}I", self.payload)[first:]
        room = max_bytes
        for index, length in enumerate(lengths):
            room -= length + LENGTH_BYTES
            if room < 0:
                return index
        return count
