"""One conversation with a peer: hello, whose turn it is to say what, and close.

Theory of operation. The peer speaks first, with HELLO; the master answers WELCOME
with the highest protocol version that both know, or CLOSE with the reason. After
that each side may send the verbs of its role, in any order. A side that meets a
broken rule sends CLOSE, and the conversation is over; so is it at the end of the
stream, which is an error only inside a frame or before WELCOME.

============ ======================= ============================
state        what ends it            to
============ ======================= ============================
OPENING      HELLO or WELCOME came   OPEN
OPENING      anything else           CLOSED
OPEN         CLOSE came or was sent  CLOSED
any          a broken rule           CLOSED
============ ======================= ============================
"""

import struct
import sys
from collections.abc import Callable
from enum import Enum
from typing import Final

from pymule.errors import ConnectionLostError, LocalProtocolError, RemoteProtocolError
from pymule.sansio.frame import (
    BULK_BYTES,
    DEFAULT_MAX_FRAME_BYTES,
    HEADER,
    FrameDecoder,
    Opcode,
)
from pymule.sansio.verbs import VERBS, Close, JsonObject, Verb

__all__ = ("PROTOCOL_VERSIONS", "Role", "Session", "SessionState", "choose_version")

PROTOCOL_VERSIONS: Final = (1, 1)
"""Lowest and highest version of the protocol that this side speaks."""

# HELLO and WELCOME are small; nobody may make us buffer more before they came.
_OPENING_MAX_BYTES: Final = 65_536

# What a client asks is small. Read as JSON, a large frame could become many times its
# size, and keep the master busy for a second.
_CALL_MAX_BYTES: Final = 65_536
# What a CALL counts among the verbs that are read at a time, and so many bytes of it.
_CALL_COST: Final = 63
_JSON_BYTES: Final = 256

# Found faster than members of the class.
_CALL: Final = Opcode.CALL
_CLOSE: Final = Opcode.CLOSE
_SUBMIT: Final = Opcode.SUBMIT

# Verbs of every day, read in the same way at any time of the conversation.
_PLAIN: Final = frozenset(
    {Opcode.SUBMIT, Opcode.CONFIRM, Opcode.DELIVER, Opcode.ACK, Opcode.CREDIT}
)

# A reason may quote the peer at length; so CLOSE fits in any limit, even before HELLO.
_REASON_CHARS: Final = 1_000


class Role(Enum):
    """Who speaks."""

    MASTER = "master"
    MULE = "mule"
    CLIENT = "client"


class SessionState(Enum):
    """How far the conversation is."""

    OPENING = "opening"
    OPEN = "open"
    CLOSED = "closed"


# What each role may say once the conversation is open. A program in a mule that
# sends is a client too, over a connection of its own.
_SAYS: Final = {
    Role.CLIENT: frozenset(
        {Opcode.SUBMIT, Opcode.CALL, Opcode.HANDLED, Opcode.LISTEN, Opcode.CLOSE}
    ),
    Role.MULE: frozenset(
        {
            Opcode.ACK,
            Opcode.NACK,
            Opcode.RETURN,
            Opcode.LANE,
            Opcode.CREDIT,
            Opcode.READY,
            Opcode.CALL,
            Opcode.HANDLED,
            Opcode.LISTEN,
            Opcode.CLOSE,
        }
    ),
    Role.MASTER: frozenset(
        {
            Opcode.CONFIRM,
            Opcode.REFUSE,
            Opcode.DELIVER,
            Opcode.DRAIN,
            Opcode.STACKS,
            Opcode.REPLY,
            Opcode.SIGNAL,
            Opcode.CLOSE,
        }
    ),
}


def choose_version(hello: JsonObject) -> int:
    """Return the highest protocol version that the sender of *hello* and we know.

    Raises:
        RemoteProtocolError: There is none, or the offer cannot be read.
    """
    low, high = PROTOCOL_VERSIONS
    match hello.get("protocol"):
        case [int(lowest), int(highest)]:
            version = min(high, highest)
            if version >= max(low, lowest):
                return version
        case _:
            pass
    raise RemoteProtocolError(
        f"protocol versions {low} to {high} are spoken here; "
        f"offered: {hello.get('protocol')!r}"
    )


class Session:
    """The conversation, as one side of it sees it; moves no bytes itself.

    Args:
        role: This side's.
        peer: The other side's; for the master, decided by how the peer came (a link
            that a mule inherited, or the listening socket), never by what it says.
        max_frame_bytes: Largest body accepted.
        max_verbs: Verbs returned at a time, at most about; see :attr:`has_more`.
    """

    def __init__(
        self,
        role: Role,
        peer: Role,
        max_frame_bytes: int = DEFAULT_MAX_FRAME_BYTES,
        max_verbs: int = sys.maxsize,
    ) -> None:
        self.role = role
        self.peer = peer
        self.state = SessionState.OPENING
        # Whether receive_data() has stopped before the bytes were used up; call it
        # again with none.
        self.has_more = False
        # Whether the peer has sent whole frames only.
        self.is_between_frames = True
        self._max_verbs = max_verbs
        self._max_frame_bytes = max_frame_bytes
        # A mule trusts who started it, and its WELCOME names all of its farms.
        opening_max = max_frame_bytes if role is Role.MULE else _OPENING_MAX_BYTES
        self._decoder = FrameDecoder(min(max_frame_bytes, opening_max))
        opening = Opcode.HELLO if role is Role.MASTER else Opcode.WELCOME
        self._allowed: frozenset[Opcode] = frozenset({opening, Opcode.CLOSE})
        # How verbs are read that need no more than that.
        self._plain: dict[int, Callable[[bytes], Verb]] = {}
        # What this side may say. The master has no first word.
        self._sayable: frozenset[Opcode] = (
            frozenset({Opcode.CLOSE})
            if role is Role.MASTER
            else frozenset({Opcode.HELLO, Opcode.CLOSE})
        )

    @property
    def buffered_bytes(self) -> int:
        """What came from the peer and is not read yet."""
        return self._decoder.buffered_bytes

    def allow_frames(self, max_frame_bytes: int) -> None:
        """Accept bodies of *max_frame_bytes*, as the master's WELCOME told."""
        self._max_frame_bytes = max_frame_bytes
        self._decoder.max_frame_bytes = max_frame_bytes

    def receive_data(self, data: bytes) -> list[Verb]:
        """Take bytes from the peer; return the verbs that they completed.

        What comes after CLOSE is not looked at.

        Raises:
            RemoteProtocolError: The peer broke a rule. The verbs before that are
                lost with the conversation; send :meth:`farewell`, then close.
        """
        self.has_more = False
        if self.state is SessionState.CLOSED:
            return []
        size = len(data) - HEADER.size
        if 0 <= size < BULK_BYTES and self.is_between_frames:
            # As a rule one frame came, whole, of a verb of every day: no buffer.
            told, number, flags, reserved = HEADER.unpack_from(data)
            unpack = self._plain.get(number)
            if (
                unpack is not None
                and told == size <= self._max_frame_bytes
                and not (flags or reserved)
            ):
                try:
                    return [unpack(data[HEADER.size :])]
                except (struct.error, RemoteProtocolError):
                    # The long way tells what is wrong.
                    pass
        return self._receive_frames(data)

    def _receive_frames(self, data: bytes) -> list[Verb]:
        verbs: list[Verb] = []
        try:
            if data:
                self._decoder.feed(data)
            self._read_frames(verbs)
        except RemoteProtocolError:
            self.state = SessionState.CLOSED
            raise
        return verbs

    def _read_frames(self, verbs: list[Verb]) -> None:
        """Read what was fed into *verbs*, as many as there may be."""
        decoder = self._decoder
        left = self._max_verbs
        while (frame := decoder.next_frame()) is not None:
            opcode, body = frame
            verbs.append(self._read(opcode, body))
            left -= 1
            if opcode is _CALL:
                left -= _CALL_COST + len(body) // _JSON_BYTES
            if opcode is _CLOSE:
                break
            if left <= 0:
                self.has_more = not decoder.is_between_frames
                break
        self.is_between_frames = decoder.is_between_frames

    def _read(self, opcode: Opcode, body: bytes) -> Verb:
        if opcode not in self._allowed:
            raise RemoteProtocolError(
                f"{opcode.name} from a {self.peer.value} "
                f"while the session is {self.state.value}"
            )
        if (
            len(body) > _CALL_MAX_BYTES
            and self.peer is Role.CLIENT
            and opcode is not _SUBMIT
        ):
            raise RemoteProtocolError(
                f"{opcode.name} of {len(body)} bytes; a client's may have"
                f" {_CALL_MAX_BYTES}"
            )
        try:
            verb = VERBS[opcode](body)
        except struct.error as exc:
            raise RemoteProtocolError(
                f"{opcode.name} with a body of {len(body)} bytes: {exc}"
            ) from exc
        if opcode is _CLOSE:
            self.state = SessionState.CLOSED
        elif self.state is SessionState.OPENING:
            self._open()
        return verb

    def _open(self) -> None:
        self.state = SessionState.OPEN
        self._allowed = _SAYS[self.peer]
        self._sayable = _SAYS[self.role]
        if self.role is Role.MASTER:
            self._sayable |= {Opcode.WELCOME}
        self._decoder.max_frame_bytes = self._max_frame_bytes
        self._plain = {opcode.value: VERBS[opcode] for opcode in _PLAIN & self._allowed}

    def receive_eof(self) -> None:
        """The stream ended.

        Raises:
            ConnectionLostError: Inside a frame, or before the conversation opened.
        """
        was, self.state = self.state, SessionState.CLOSED
        if was is SessionState.OPENING:
            raise ConnectionLostError("the peer left before the session was open")
        if was is SessionState.OPEN and not self.is_between_frames:
            raise ConnectionLostError("the peer left in the middle of a frame")

    def pack(self, verb: Verb) -> bytes:
        """Return *verb* as bytes for the peer.

        Raises:
            LocalProtocolError: This role may not say that, or not now.
        """
        is_over = self.state is SessionState.CLOSED and verb.opcode is not Opcode.CLOSE
        if is_over or verb.opcode not in self._sayable:
            raise LocalProtocolError(
                f"{verb.opcode.name} by a {self.role.value} "
                f"on a session that is {self.state.value}"
            )
        return verb.pack()

    def farewell(self, reason: str) -> bytes:
        """Return the last frame for the peer, and end the conversation."""
        self.state = SessionState.CLOSED
        return Close({"reason": reason[:_REASON_CHARS]}).pack()
