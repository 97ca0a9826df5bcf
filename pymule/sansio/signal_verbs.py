# ruff: noqa: D102  (pack and unpack are the same two things in every verb)
"""The verbs of signals; the others are in :mod:`pymule.sansio.verbs`."""

import struct
from typing import Final, Self

from pymule.errors import RemoteProtocolError
from pymule.sansio.body import JsonObject, read_json, write_json
from pymule.sansio.frame import Opcode, encode_frame
from pymule.sansio.slots import slots

__all__ = ("Handled", "Listen", "Signal")

_SIGNAL: Final = struct.Struct("<BB")
_LISTEN: Final = struct.Struct("<B")
_MAX_OUTCOME: Final = 2


@slots
class Signal:
    """Master to peer: run the handler of a signal.

    ``number u8 | complete u8``, then ``{"paths": [...]}`` as JSON: files that changed,
    if any; *complete* is 1 if they are all that did.
    """

    opcode = Opcode.SIGNAL
    number: int
    paths: tuple[str, ...] = ()
    is_complete: bool = True

    def pack(self) -> bytes:
        value: JsonObject = {"paths": list(self.paths)} if self.paths else {}
        head = _SIGNAL.pack(self.number, self.is_complete)
        return encode_frame(self.opcode, head + write_json(value))

    @classmethod
    def unpack(cls, body: bytes) -> Self:
        number, complete = _SIGNAL.unpack_from(body)
        if complete > 1:
            raise RemoteProtocolError(f"signal with complete {complete}; allowed: 0, 1")
        paths = read_json(body[_SIGNAL.size :]).get("paths", [])
        if not isinstance(paths, list) or not all(isinstance(p, str) for p in paths):
            raise RemoteProtocolError(f"SIGNAL with paths {paths!r}; allowed: texts")
        return cls(number, tuple(paths), bool(complete))


@slots
class Handled:
    """Peer to master: ``number u8 | outcome u8``, how the handler of a signal went.

    0: it ended; 1: it raised; 2: this process cannot run it now, another may.
    """

    opcode = Opcode.HANDLED
    number: int
    outcome: int

    def pack(self) -> bytes:
        return encode_frame(self.opcode, _SIGNAL.pack(self.number, self.outcome))

    @classmethod
    def unpack(cls, body: bytes) -> Self:
        number, outcome = _SIGNAL.unpack(body)
        if outcome > _MAX_OUTCOME:
            raise RemoteProtocolError(
                f"HANDLED with outcome {outcome}; allowed: 0 to 2"
            )
        return cls(number, outcome)


@slots
class Listen:
    """Peer to master: ``listening u8``, whether it could run a handler at once."""

    opcode = Opcode.LISTEN
    is_listening: bool

    def pack(self) -> bytes:
        return encode_frame(self.opcode, _LISTEN.pack(self.is_listening))

    @classmethod
    def unpack(cls, body: bytes) -> Self:
        (listening,) = _LISTEN.unpack(body)
        if listening > 1:
            raise RemoteProtocolError(f"LISTEN {listening}; allowed: 0 and 1")
        return cls(bool(listening))
