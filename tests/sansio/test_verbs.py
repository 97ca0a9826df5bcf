import random
import struct
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymule.errors import RemoteProtocolError
from pymule.sansio.batch import pack_bodies
from pymule.sansio.frame import BULK_BYTES, FrameDecoder, Opcode
from pymule.sansio.verbs import (
    VERBS,
    Ack,
    Call,
    Close,
    Confirm,
    Credit,
    Deliver,
    Drain,
    Handled,
    Hello,
    JsonObject,
    Lane,
    Listen,
    Nack,
    Ready,
    Refuse,
    Reply,
    ReplyKind,
    Return,
    Signal,
    Stacks,
    Submit,
    Verb,
    Welcome,
    write_json,
)

U8: Final = st.integers(0, 255)
U16: Final = st.integers(0, 2**16 - 1)
U32: Final = st.integers(0, 2**32 - 1)
U64: Final = st.integers(0, 2**64 - 1)
NUMBERS: Final = st.floats(allow_nan=False, allow_infinity=False)
JSON: Final = st.dictionaries(
    st.text(),
    st.recursive(
        st.none() | st.booleans() | st.integers() | NUMBERS | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
        ),
        max_leaves=5,
    ),
    max_size=3,
)
RANGES: Final = st.lists(st.tuples(U64, U32, U64), max_size=5)
BYTES: Final = st.binary(max_size=30)

OF_EACH: Final[dict[Opcode, st.SearchStrategy[Verb]]] = {
    Opcode.HELLO: st.builds(Hello, JSON),
    Opcode.WELCOME: st.builds(Welcome, JSON),
    Opcode.CLOSE: st.builds(Close, JSON),
    Opcode.SUBMIT: st.builds(Submit, U64, U64, U32, st.text(max_size=20), BYTES, BYTES),
    Opcode.CONFIRM: st.builds(Confirm, RANGES),
    Opcode.REFUSE: st.builds(Refuse, U64, U32, U16, JSON),
    Opcode.DELIVER: st.builds(Deliver, U64, U32, U16, U16, BYTES, BYTES, BYTES),
    Opcode.ACK: st.builds(Ack, RANGES),
    Opcode.NACK: st.builds(Nack, U64, U32, NUMBERS, st.booleans(), JSON),
    Opcode.RETURN: st.builds(Return, RANGES),
    Opcode.LANE: st.builds(Lane, U16, st.lists(st.text(), max_size=3)),
    Opcode.CREDIT: st.builds(Credit, U16, U64),
    Opcode.READY: st.builds(Ready),
    Opcode.DRAIN: st.builds(Drain),
    Opcode.STACKS: st.builds(Stacks),
    Opcode.CALL: st.builds(Call, U32, JSON),
    Opcode.REPLY: st.builds(Reply, U32, st.integers(0, 2), JSON),
    Opcode.SIGNAL: st.builds(
        Signal, U8, st.lists(st.text(), max_size=3).map(tuple), st.booleans()
    ),
    Opcode.HANDLED: st.builds(Handled, U8, st.integers(0, 2)),
    Opcode.LISTEN: st.builds(Listen, st.booleans()),
}
ANY_VERB: Final = st.one_of(*OF_EACH.values())
PAYLOAD: Final = pack_bodies([b"one", b"two"])
EXAMPLES: Final[tuple[Verb, ...]] = (
    Hello({"protocol": [1, 1], "client": "c", "name": "n"}),
    Welcome({"protocol": 1}),
    Close({"reason": "enough"}),
    Submit(1, 1, 2, "farm:busy", b"{}", PAYLOAD),
    Confirm([(1, 2, 101)]),
    Refuse(1, 2, 4, {}),
    Deliver(101, 2, 0, 1, b"farm:busy", b"{}", PAYLOAD),
    Ack([(101, 1, 1)]),
    Nack(102, 1, -1.0, final=False, error={"type": "ValueError"}),
    Return([(101, 2, 1)]),
    Lane(0, ["mule1", "mule"]),
    Credit(0, 16),
    Ready(),
    Drain(),
    Stacks(),
    Call(1, {"method": "ping"}),
    Reply(1, ReplyKind.LAST, {"pid": 1}),
    Signal(17, ("a/file",), is_complete=False),
    Handled(17, 1),
    Listen(is_listening=True),
)


def body_of(verb: Verb) -> bytes:
    decoder = FrameDecoder()
    decoder.feed(verb.pack())
    frame = decoder.next_frame()
    assert frame is not None
    assert frame[0] is verb.opcode
    assert decoder.is_between_frames
    return frame[1]


def read(opcode: Opcode, body: bytes) -> Verb | None:
    """Return the verb, or ``None`` where a session would end the conversation."""
    try:
        return VERBS[opcode](body)
    except (RemoteProtocolError, struct.error):
        return None


def test_every_opcode_has_a_verb_and_an_example_here() -> None:
    assert set(VERBS) == set(Opcode) == set(OF_EACH)
    assert [verb.opcode for verb in EXAMPLES] == list(Opcode)


@given(verb=ANY_VERB)
def test_every_verb_reads_back_what_it_packs(verb: Verb) -> None:
    assert VERBS[verb.opcode](body_of(verb)) == verb


@pytest.mark.parametrize(
    "verb",
    [
        Submit(1, 1, 1, "mule", b"{}", pack_bodies([bytes(BULK_BYTES)])),
        Deliver(1, 1, 0, 1, b"mule", b"{}", pack_bodies([bytes(BULK_BYTES)])),
    ],
    ids=lambda verb: verb.opcode.name,
)
def test_what_is_large_is_read_from_a_view(verb: Submit | Deliver) -> None:
    decoder = FrameDecoder()
    decoder.feed(verb.pack())
    frame = decoder.next_frame()
    assert frame is not None
    read = VERBS[frame[0]](frame[1])

    assert read == verb
    assert isinstance(read, Submit | Deliver)
    assert {type(read.options), type(read.payload)} == {bytes}


@given(opcode=st.sampled_from(Opcode), body=st.binary())
def test_a_random_body_is_a_verb_or_the_fault_of_the_peer(
    opcode: Opcode, body: bytes
) -> None:
    verb = read(opcode, body)

    assert verb is None or verb.opcode is opcode


@pytest.mark.parametrize("verb", EXAMPLES, ids=lambda verb: verb.opcode.name)
def test_a_damaged_body_is_a_verb_or_the_fault_of_the_peer(verb: Verb) -> None:
    draw = random.Random(verb.opcode)  # noqa: S311  (the same bodies each time)
    body = body_of(verb) or b"\0"

    for _ in range(500):
        damaged = bytearray(body)
        for _ in range(draw.randint(1, 3)):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        got = read(verb.opcode, bytes(damaged))

        assert got is None or read(verb.opcode, body_of(got)) == got


# The batch at their end is checked by who unpacks it.
WITHOUT_BATCH: Final = [
    verb for verb in EXAMPLES if not isinstance(verb, Submit | Deliver)
]


@pytest.mark.parametrize("verb", WITHOUT_BATCH, ids=lambda verb: verb.opcode.name)
def test_a_body_cut_short_or_too_long_is_refused(verb: Verb) -> None:
    body = body_of(verb)
    # Ranges are repeated, so the end of each one is an end.
    whole = 20 if isinstance(verb, Confirm | Ack | Return) else len(body) + 1
    cuts = [at for at in range(len(body)) if at % whole or whole > len(body)]

    assert [at for at in cuts if read(verb.opcode, body[:at]) is not None] == []
    assert read(verb.opcode, body + b"x") is None


@pytest.mark.parametrize(
    "verb",
    [verb for verb in EXAMPLES if isinstance(verb, Submit | Deliver)],
    ids=lambda verb: verb.opcode.name,
)
def test_fields_never_reach_beyond_the_body(verb: Submit | Deliver) -> None:
    body = body_of(verb)
    fields = len(body) - len(PAYLOAD)

    assert all(read(verb.opcode, body[:at]) is None for at in range(fields))
    assert read(verb.opcode, body[:fields]) is not None


def test_a_target_longer_than_its_frame_is_refused() -> None:
    body = struct.pack("<QQIHH", 1, 1, 1, 500, 0) + b"mule"

    with pytest.raises(
        RemoteProtocolError, match="fields of 524 bytes in a body of 28"
    ):
        Submit.unpack(body)


def test_a_target_is_utf_8() -> None:
    body = struct.pack("<QQIHH", 1, 1, 1, 2, 0) + b"\xff\xff" + PAYLOAD

    with pytest.raises(RemoteProtocolError, match="text is not UTF-8"):
        Submit.unpack(body)


@pytest.mark.parametrize("verb", [Ready, Drain, Stacks])
def test_a_verb_without_a_body_has_none(
    verb: type[Ready] | type[Drain] | type[Stacks],
) -> None:
    with pytest.raises(RemoteProtocolError, match="has no body; 1 bytes came"):
        verb.unpack(b"x")


@pytest.mark.parametrize("delay", [float("nan"), float("inf")])
def test_a_nack_cannot_ask_for_ever(delay: float) -> None:
    body = body_of(Nack(1, 1, delay, final=False, error={}))

    with pytest.raises(RemoteProtocolError, match="nack with a delay"):
        Nack.unpack(body)


def test_a_nack_is_final_or_it_is_not() -> None:
    body = struct.pack("<QIBd", 1, 1, 2, 0.0) + b"{}"

    with pytest.raises(RemoteProtocolError, match="nack with final 2"):
        Nack.unpack(body)


def test_a_reply_has_one_of_three_kinds() -> None:
    with pytest.raises(RemoteProtocolError, match="reply of kind 3"):
        Reply.unpack(body_of(Reply(1, 3, {})))


@pytest.mark.parametrize(
    "value",
    [{}, {"sources": "mule"}, {"sources": None}, {"sources": ["mule", 1]}],
    ids=repr,
)
def test_a_lane_has_a_list_of_texts(value: JsonObject) -> None:
    body = struct.pack("<H", 0) + write_json(value)

    with pytest.raises(RemoteProtocolError, match="LANE with sources"):
        Lane.unpack(body)
