import random
from collections.abc import Sequence
from itertools import chain, pairwise, product
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pymule.errors import (
    ConnectionLostError,
    FrameTooBigError,
    LocalProtocolError,
    RemoteProtocolError,
)
from pymule.sansio import session as session_module
from pymule.sansio.frame import HEADER, Opcode, encode_frame
from pymule.sansio.session import (
    PROTOCOL_VERSIONS,
    Role,
    Session,
    SessionState,
    choose_version,
)
from pymule.sansio.verbs import (
    Call,
    Close,
    Hello,
    Listen,
    Ready,
    Submit,
    Verb,
    Welcome,
)
from tests.sansio.test_verbs import EXAMPLES

HELLO: Final = Hello({"protocol": list(PROTOCOL_VERSIONS), "client": "c"})
WELCOME: Final = Welcome({"protocol": 1})
BY_OPCODE: Final = {verb.opcode: verb for verb in EXAMPLES}

SIDES: Final = [
    (Role.MASTER, Role.CLIENT),
    (Role.MASTER, Role.MULE),
    (Role.CLIENT, Role.MASTER),
    (Role.MULE, Role.MASTER),
]
"""Who listens, and to whom."""

SAYS: Final = {
    Role.CLIENT: "SUBMIT CALL HANDLED LISTEN CLOSE",
    Role.MULE: "ACK NACK RETURN LANE CREDIT READY CALL HANDLED LISTEN CLOSE",
    Role.MASTER: "CONFIRM REFUSE DELIVER DRAIN STACKS REPLY SIGNAL CLOSE",
}
"""Who may say what when the session is open; written down a second time on purpose."""


class Pair:
    """Two sessions back to back; what one packs the other receives."""

    def __init__(self, role: Role = Role.CLIENT) -> None:
        self.peer = Session(role, Role.MASTER)
        self.master = Session(Role.MASTER, role)

    def to_master(self, verb: Verb) -> list[Verb]:
        return self.master.receive_data(self.peer.pack(verb))

    def to_peer(self, verb: Verb) -> list[Verb]:
        return self.peer.receive_data(self.master.pack(verb))

    def states(self) -> tuple[str, str]:
        return self.peer.state.value, self.master.state.value

    def open(self) -> "Pair":
        self.to_master(HELLO)
        self.to_peer(WELCOME)
        return self


def pack_all(verbs: Sequence[Verb]) -> bytes:
    return b"".join(verb.pack() for verb in verbs)


def opened(role: Role, peer: Role, max_frame_bytes: int = 65_536) -> Session:
    session = Session(role, peer, max_frame_bytes)
    session.receive_data((HELLO if role is Role.MASTER else WELCOME).pack())
    return session


@pytest.mark.parametrize("role", [Role.CLIENT, Role.MULE])
def test_hello_and_welcome_open_both_sides(role: Role) -> None:
    pair = Pair(role)

    assert pair.to_master(HELLO) == [HELLO]
    assert pair.states() == ("opening", "open")
    assert pair.to_peer(WELCOME) == [WELCOME]
    assert pair.states() == ("open", "open")


@pytest.mark.parametrize(("role", "peer"), SIDES)
@pytest.mark.parametrize("opcode", Opcode, ids=lambda opcode: opcode.name)
def test_an_open_session_takes_the_verbs_of_the_peer_and_no_others(
    role: Role, peer: Role, opcode: Opcode
) -> None:
    session, verb = opened(role, peer), BY_OPCODE[opcode]

    if opcode.name in SAYS[peer].split():
        assert session.receive_data(verb.pack()) == [verb]
    else:
        with pytest.raises(RemoteProtocolError, match=f"{opcode.name} from a"):
            session.receive_data(verb.pack())
        assert session.state is SessionState.CLOSED


@pytest.mark.parametrize(("role", "peer"), SIDES)
@pytest.mark.parametrize("opcode", Opcode, ids=lambda opcode: opcode.name)
def test_the_first_word_is_hello_or_welcome_or_close(
    role: Role, peer: Role, opcode: Opcode
) -> None:
    session, verb = Session(role, peer), BY_OPCODE[opcode]
    first = Opcode.HELLO if role is Role.MASTER else Opcode.WELCOME

    if opcode in (first, Opcode.CLOSE):
        assert session.receive_data(verb.pack()) == [verb]
    else:
        with pytest.raises(RemoteProtocolError, match="while the session is opening"):
            session.receive_data(verb.pack())


@pytest.mark.parametrize(("role", "peer"), SIDES)
@pytest.mark.parametrize("opcode", Opcode, ids=lambda opcode: opcode.name)
def test_a_side_says_what_its_role_allows_and_nothing_else(
    role: Role, peer: Role, opcode: Opcode
) -> None:
    verb = BY_OPCODE[opcode]
    greeting = "WELCOME" if role is Role.MASTER else ""
    before = "CLOSE" if role is Role.MASTER else "HELLO CLOSE"

    for session, sayable in (
        (Session(role, peer), before),
        (opened(role, peer), f"{SAYS[role]} {greeting}"),
    ):
        if opcode.name in sayable.split():
            assert session.pack(verb) == verb.pack()
        else:
            with pytest.raises(LocalProtocolError, match=f"{opcode.name} by a"):
                session.pack(verb)


def test_a_session_that_is_over_says_goodbye_and_nothing_else() -> None:
    pair = Pair().open()
    goodbye = pair.master.farewell("enough")

    assert pair.master.pack(Close({})) == Close({}).pack()
    assert pair.peer.receive_data(goodbye) == [Close({"reason": "enough"})]
    for session in (pair.master, pair.peer):
        assert session.state is SessionState.CLOSED
        with pytest.raises(LocalProtocolError, match="on a session that is closed"):
            session.pack(BY_OPCODE[Opcode.SUBMIT])


def test_nothing_is_read_after_close_however_it_arrives() -> None:
    goodbye, more = Close({"reason": "x"}).pack(), Ready().pack() + b"garbage"
    at_once, bit_by_bit = opened(*SIDES[0]), opened(*SIDES[0])

    assert at_once.receive_data(goodbye + more) == [Close({"reason": "x"})]
    assert bit_by_bit.receive_data(goodbye) == [Close({"reason": "x"})]
    assert bit_by_bit.receive_data(more) == []


def test_a_long_reason_is_cut_so_that_everybody_can_read_it() -> None:
    peer = Session(Role.CLIENT, Role.MASTER)

    (close,) = peer.receive_data(Session(*SIDES[0]).farewell("\N{SNAKE}" * 100_000))

    assert close == Close({"reason": "\N{SNAKE}" * 1000})


@pytest.mark.parametrize(("role", "peer"), SIDES)
def test_a_broken_rule_ends_the_conversation(role: Role, peer: Role) -> None:
    session = opened(role, peer)

    with pytest.raises(RemoteProtocolError, match="not a pymule frame"):
        session.receive_data(b"GET / HTTP/1.1\r\n")

    assert session.state is SessionState.CLOSED
    assert session.receive_data(BY_OPCODE[Opcode.SUBMIT].pack()) == []


def test_a_body_of_the_wrong_size_is_named_with_its_verb() -> None:
    session = opened(Role.MASTER, Role.CLIENT)

    with pytest.raises(RemoteProtocolError, match="CALL with a body of 2 bytes"):
        session.receive_data(encode_frame(Opcode.CALL, b"ab"))


# The versions of both sides


@pytest.mark.parametrize(
    ("ours", "theirs"),
    list(
        product(
            [(low, high) for low in range(1, 5) for high in range(low, 5)], repeat=2
        )
    ),
    ids=str,
)
def test_the_highest_version_that_both_know_is_chosen(
    ours: tuple[int, int], theirs: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "PROTOCOL_VERSIONS", ours)
    common = set(range(ours[0], ours[1] + 1)) & set(range(theirs[0], theirs[1] + 1))

    if common:
        assert choose_version({"protocol": list(theirs)}) == max(common)
    else:
        with pytest.raises(RemoteProtocolError, match="are spoken here; offered"):
            choose_version({"protocol": list(theirs)})


@pytest.mark.parametrize(
    "offer",
    [None, 1, "1", [], [1], [1, 1, 1], ["1", "1"], [1.0, 1.0], [3, 1]],
    ids=repr,
)
def test_an_offer_that_cannot_be_read_is_refused(offer: object) -> None:
    with pytest.raises(RemoteProtocolError, match="versions 1 to 1 are spoken here"):
        choose_version({"protocol": offer})


def test_an_offer_must_be_made() -> None:
    with pytest.raises(RemoteProtocolError, match="offered: None"):
        choose_version({})


# Limits


def test_before_hello_nobody_makes_us_buffer_more_than_a_little() -> None:
    session = Session(Role.MASTER, Role.CLIENT, 16 * 1024 * 1024)

    with pytest.raises(FrameTooBigError):
        session.receive_data(HEADER.pack(65_537, Opcode.HELLO, 0, 0))


def test_after_hello_the_full_limit_holds_even_for_the_next_frame_at_once() -> None:
    session = Session(Role.MASTER, Role.CLIENT, 1_000_000)
    submit = Submit(1, 1, 1, "mule", b"", bytes(900_000))

    assert session.receive_data(HELLO.pack() + submit.pack()) == [HELLO, submit]
    with pytest.raises(FrameTooBigError):
        session.receive_data(HEADER.pack(1_000_001, Opcode.CALL, 0, 0))


def test_what_a_client_asks_is_small_whatever_a_message_may_be() -> None:
    call = Call(1, {"x": "x" * 65_536}).pack()

    with pytest.raises(RemoteProtocolError, match="CALL of 65548 bytes"):
        opened(Role.MASTER, Role.CLIENT, 1_000_000).receive_data(call)
    assert opened(Role.MASTER, Role.MULE, 1_000_000).receive_data(call)


# A little at a time


def test_a_flood_of_verbs_is_read_a_little_at_a_time() -> None:
    session = Session(Role.MASTER, Role.CLIENT, 65_536, max_verbs=10)
    listens = [Listen(number % 2 == 0) for number in range(24)]

    heard = [session.receive_data(HELLO.pack() + pack_all(listens))]
    while session.has_more:
        heard.append(session.receive_data(b""))

    assert [len(verbs) for verbs in heard] == [10, 10, 5]
    assert list(chain.from_iterable(heard)) == [HELLO, *listens]
    assert session.is_between_frames


def test_few_calls_are_read_at_a_time() -> None:
    session = opened(Role.MASTER, Role.CLIENT)
    session._max_verbs = 256

    verbs = session.receive_data(pack_all([Call(n, {}) for n in range(10)]))

    assert len(verbs) == 4
    assert session.has_more
    assert session.buffered_bytes == 6 * len(Call(1, {}).pack())


def test_half_a_frame_is_more_only_with_the_rest_of_it() -> None:
    session = opened(Role.MASTER, Role.CLIENT)
    session._max_verbs = 1
    frame = Listen(is_listening=True).pack()

    assert len(session.receive_data(frame + frame[:-1])) == 1
    has_more = [session.has_more]
    assert session.receive_data(b"") == []
    has_more.append(session.has_more)
    assert len(session.receive_data(frame[-1:])) == 1
    assert [*has_more, session.has_more] == [True, False, False]


def test_nothing_is_more_behind_a_goodbye() -> None:
    session = opened(Role.MASTER, Role.CLIENT)
    session._max_verbs = 1

    session.receive_data(Close({}).pack() + Close({}).pack())

    assert not session.has_more
    assert session.receive_data(b"") == []


def test_a_mule_takes_a_welcome_that_names_10_000_farms() -> None:
    farms: list[object] = [f"farm{number}" for number in range(10_000)]
    welcome = Welcome({"protocol": 1, "mule": {"farms": farms}})
    master, mule = Session(Role.MASTER, Role.MULE), Session(Role.MULE, Role.MASTER)
    hello = mule.pack(Hello({"protocol": [1, 1], "client": "", "name": ""}))
    master.receive_data(hello)
    data = master.pack(welcome)

    assert mule.receive_data(data) == [welcome]
    with pytest.raises(FrameTooBigError):
        Session(Role.CLIENT, Role.MASTER).receive_data(data)


def test_a_limit_below_that_of_the_opening_holds_from_the_start() -> None:
    session = Session(Role.MASTER, Role.CLIENT, 10)

    with pytest.raises(FrameTooBigError):
        session.receive_data(HELLO.pack())


def test_the_limit_of_the_master_replaces_our_own() -> None:
    session = opened(Role.CLIENT, Role.MASTER, max_frame_bytes=100)

    session.allow_frames(200)

    assert session.receive_data(Close({"reason": "x" * 150}).pack()), (
        "a frame of more than 100 bytes"
    )


# The end of the stream


def test_the_end_before_the_session_is_open_is_an_error() -> None:
    session = Session(Role.MASTER, Role.CLIENT)

    with pytest.raises(ConnectionLostError, match="before the session was open"):
        session.receive_eof()
    assert session.state is SessionState.CLOSED


def test_the_end_between_frames_is_an_end_in_good_order() -> None:
    pair = Pair().open()

    pair.master.receive_eof()

    assert pair.master.state is SessionState.CLOSED
    assert pair.master.is_between_frames


@pytest.mark.parametrize("length", [1, HEADER.size, HEADER.size + 1])
def test_the_end_inside_a_frame_is_an_error(length: int) -> None:
    session = opened(Role.MASTER, Role.CLIENT)
    session.receive_data(BY_OPCODE[Opcode.SUBMIT].pack()[:length])

    assert not session.is_between_frames
    with pytest.raises(ConnectionLostError, match="in the middle of a frame"):
        session.receive_eof()


def test_the_end_of_a_session_that_is_over_says_nothing() -> None:
    session = opened(Role.MASTER, Role.CLIENT)
    session.receive_data(HEADER.pack(100, Opcode.CALL, 0, 0))
    session.farewell("not the rest of a frame")

    session.receive_eof()

    assert session.state is SessionState.CLOSED


# Whatever comes


@given(data=st.data(), sides=st.sampled_from(SIDES))
def test_any_chopping_gives_the_same_verbs(
    data: st.DataObject, sides: tuple[Role, Role]
) -> None:
    role, peer = sides
    allowed = [BY_OPCODE[Opcode[name]] for name in SAYS[peer].split()[:-1]]
    sent = data.draw(st.lists(st.sampled_from(allowed)))
    stream = b"".join(verb.pack() for verb in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)))))
    session = opened(role, peer)

    got = [
        verb
        for low, high in pairwise([0, *cuts, len(stream)])
        for verb in session.receive_data(stream[low:high])
    ]

    assert got == sent


CHUNKS: Final = st.lists(
    st.binary() | st.sampled_from([verb.pack() for verb in EXAMPLES])
)


@settings(max_examples=200)
@given(chunks=CHUNKS, sides=st.sampled_from(SIDES), is_open=st.booleans())
def test_anything_gives_verbs_or_the_fault_of_the_peer(
    chunks: list[bytes], sides: tuple[Role, Role], *, is_open: bool
) -> None:
    session = opened(*sides) if is_open else Session(*sides)

    for chunk in chunks:
        receive(session, chunk)


@pytest.mark.parametrize(("role", "peer"), SIDES)
def test_thousands_of_damaged_streams_give_verbs_or_the_fault_of_the_peer(
    role: Role, peer: Role
) -> None:
    draw = random.Random(f"{role} {peer}")  # noqa: S311  (the same streams each time)
    frames = [BY_OPCODE[Opcode[name]].pack() for name in SAYS[peer].split()]

    for _ in range(2000):
        stream = bytearray(b"".join(draw.choices(frames, k=draw.randint(1, 4))))
        for _ in range(draw.randint(0, 4)):
            stream[draw.randrange(len(stream))] = draw.randrange(256)
        cut = draw.randrange(len(stream))
        session = opened(role, peer)
        receive(session, bytes(stream[:cut]))
        receive(session, bytes(stream[cut:]))


def receive(session: Session, chunk: bytes) -> None:
    """Feed *chunk*; check what holds whatever it is."""
    was_closed = session.state is SessionState.CLOSED
    try:
        verbs = session.receive_data(chunk)
    except RemoteProtocolError:
        assert session.state is SessionState.CLOSED
        return
    assert not (was_closed and verbs)
    if session.state is not SessionState.CLOSED:
        decoder = session._decoder
        buffered = len(decoder._partial) + len(decoder._data)
        assert buffered < HEADER.size + decoder.max_frame_bytes
