"""docs/protocol.md and the code say the same."""

import inspect
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol, cast, get_args

import pytest

from pymule import scoreboard
from pymule.errors import WIRE_ERRORS, DrainingError, QueueFullError
from pymule.master import clients, daemon
from pymule.master.plan import Patience
from pymule.sansio import options, session, signal_verbs, submissions, verbs
from pymule.sansio.batch import MAX_BATCH_COUNT, Batch, pack_bodies
from pymule.sansio.frame import (
    DEFAULT_MAX_FRAME_BYTES,
    HEADER,
    FrameDecoder,
    Opcode,
)
from pymule.sansio.session import PROTOCOL_VERSIONS, Role, Session, choose_version
from pymule.sansio.target import FARM_NAME
from pymule.sansio.verbs import (
    VERBS,
    Close,
    Confirm,
    Hello,
    JsonObject,
    Refuse,
    ReplyKind,
    Submit,
    Verb,
    Welcome,
)
from pymule.settings import Settings

TEXT: Final = (Path(__file__).parent.parent / "docs" / "protocol.md").read_text()

LAYOUTS: Final = {
    "FRAME": HEADER,
    "SUBMIT": verbs._SUBMIT,
    "CONFIRM": verbs._RANGE,
    "REFUSE": verbs._REFUSE,
    "CALL": verbs._CALL,
    "REPLY": verbs._REPLY,
    "LANE": verbs._LANE,
    "CREDIT": verbs._CREDIT,
    "DELIVER": verbs._DELIVER,
    "ACK": verbs._RANGE,
    "NACK": verbs._NACK,
    "SIGNAL": signal_verbs._SIGNAL,
    "HANDLED": signal_verbs._SIGNAL,
    "LISTEN": signal_verbs._LISTEN,
}
CODES: Final = {"u8": "B", "u16": "H", "u32": "I", "u64": "Q", "f64": "d"}


def table(first_heading: str) -> list[list[str]]:
    """Return the cells of the table whose first column has this heading."""
    (rows,) = re.findall(
        rf"^\| {re.escape(first_heading)} \|.*\n\|[ |-]+\|\n((?:\|.*\n)+)",
        TEXT,
        re.MULTILINE,
    )
    return [
        [cell.strip() for cell in row.strip("|").split("|")]
        for row in rows.splitlines()
    ]


def blocks(language: str) -> dict[str, str]:
    """Return the code blocks of *language* by the name that follows it."""
    found = re.findall(rf"^```{language} (\w+)\n([^`]*)^```", TEXT, re.MULTILINE)
    assert len(dict(found)) == len(found), "each name once"
    return dict(found)


def from_hex(name: str) -> bytes:
    lines = blocks("hex")[name].splitlines()
    return bytes.fromhex(" ".join(line.partition("#")[0] for line in lines))


# Numbers and names


def test_the_versions_are_those_of_the_code() -> None:
    low, high = PROTOCOL_VERSIONS

    assert f"describes protocol versions {low} to {high}." in TEXT
    assert f'"protocol": [{low}, {high}]' in blocks("python")["client"]


def test_the_opcodes_are_those_of_the_code() -> None:
    told = {row[1]: int(row[0]) for row in table("Opcode")}

    assert told == {opcode.name: opcode.value for opcode in Opcode}


def test_each_verb_is_said_by_those_who_may() -> None:
    told = {row[1]: row[2].partition(" to ")[0].split(", ") for row in table("Opcode")}
    greetings = {"HELLO": ["client", "mule"], "WELCOME": ["master"]}

    for opcode in Opcode:
        may = [role.value for role in Role if opcode in session._SAYS[role]]
        assert sorted(told[opcode.name]) == sorted(greetings.get(opcode.name, may))


def test_each_body_is_of_the_kind_that_the_table_says() -> None:
    kinds = {row[1]: row[3].split(", ") for row in table("Opcode")}

    for verb in get_args(Verb):
        kind = kinds[verb.opcode.name]
        assert (kind == ["empty"]) == issubclass(verb, verbs._EmptyVerb)
        assert (kind == ["ranges"]) == issubclass(verb, verbs._RangesVerb)
        assert (kind == ["JSON"]) == issubclass(verb, verbs._JsonVerb)
        assert (kind[0] == "fixed") == (kind not in (["empty"], ["ranges"], ["JSON"]))


def test_every_verb_with_an_own_layout_has_a_drawing() -> None:
    ranges_as_ack = {"RETURN"}
    fixed = {row[1] for row in table("Opcode") if row[3] not in ("JSON", "empty")}

    assert set(blocks("layout")) == set(LAYOUTS)
    assert set(LAYOUTS) == (fixed - ranges_as_ack) | {"FRAME"}
    assert set(Opcode.__members__) >= fixed


@pytest.mark.parametrize("name", LAYOUTS)
def test_each_drawing_has_the_widths_and_offsets_of_the_code(name: str) -> None:
    lines = blocks("layout")[name].splitlines()
    offsets, widths = lines[0].split(), re.findall(r"\b[uf]\d+\b", lines[3])
    layout = "<" + "".join(CODES[width] for width in widths)
    starts = [struct.calcsize(layout[: at + 1]) for at in range(len(layout))]

    assert layout == LAYOUTS[name].format
    assert list(map(int, offsets)) == starts


def test_each_drawing_is_drawn_straight() -> None:
    for drawing in blocks("layout").values():
        offsets, above, names, _, below = drawing.splitlines()
        edges = [at for at, sign in enumerate(above) if sign == "+"]

        assert above == below
        assert [at for at, sign in enumerate(names) if sign == "|"] == edges
        assert [found.start() for found in re.finditer(r"\d+", offsets)] == edges[
            : len(offsets.split())
        ]


def test_the_errors_are_those_of_the_code() -> None:
    told = {
        int(code): (name, retryable, re.findall(r"`(\w+)`", detail))
        for code, name, retryable, detail, _ in table("Code")
    }

    assert told == {
        code: (
            cls.__name__,
            "yes" if cls.retryable else "no",
            list(inspect.signature(cls).parameters),
        )
        for code, cls in WIRE_ERRORS.items()
    }


def test_the_options_are_those_of_the_code() -> None:
    told = [(row[0].strip("`"), row[1]) for row in table("Option")]

    assert told == [(name, allowed) for name, (_, allowed) in options._RULES.items()]
    assert f"at most {options.MAX_OPTIONS_BYTES:,} bytes" in TEXT


def test_the_kinds_of_a_reply_are_those_of_the_code() -> None:
    told = [int(row[0]) for row in table("Kind")]

    assert told == [ReplyKind.LAST, ReplyKind.MORE, ReplyKind.ERROR]


def test_the_name_of_a_farm_is_that_of_the_code() -> None:
    assert f"`{FARM_NAME.pattern}`" in TEXT


def test_the_sizes_are_those_of_the_code() -> None:
    assert f"from 1 to {MAX_BATCH_COUNT:,}, and the lengths" in TEXT
    assert f"The limit is {session._OPENING_MAX_BYTES:,} bytes until" in TEXT
    assert f"at most {session._REASON_CHARS:,} characters" in TEXT


def test_the_limits_of_the_daemon_are_those_of_the_code() -> None:
    told, patience = [row[1] for row in table("What")], Patience()

    assert told == [
        f"{patience.hello_s:g} s",
        f"{patience.frame_s:g} s",
        f"{patience.stall_s:g} s",
        f"{DEFAULT_MAX_FRAME_BYTES:,}",
        f"{session._CALL_MAX_BYTES:,}",
        f"{daemon._WINDOW_COUNT:,}",
        f"{daemon._WINDOW_BYTES:,}",
        f"{clients._REMEMBERED_CLIENTS:,}",
        f"{submissions._MAX_PIECES:,}",
        f"{clients._REMEMBERED_BATCHES:,}",
        f"{clients._REMEMBERED_S:g} s",
        f"{Settings.model_fields['max_clients'].default:,}",
    ]


def test_the_scoreboard_is_that_of_the_code() -> None:
    rows = dict(
        re.findall(r"^\| (\d+(?: \+ 4n| to \d+)?) \| (.*?) \|$", TEXT, re.MULTILINE)
    )
    first, size = scoreboard._FIRST_SLOT, scoreboard._SLOT_WORDS

    assert rows["0"].endswith(f"`0x{scoreboard._MAGIC:016X}`")
    assert f"4 to {first - 1}" in rows
    slot = [text for number, text in rows.items() if number.endswith(f" + {size}n")]
    assert len(slot) == size
    assert rows[f"{first} + {size}n"] == slot[0]
    assert f"lane << {scoreboard._LANE_SHIFT}" in slot[0]
    assert scoreboard.lane_word(3, 7) == 3 << 48 | (7 + 1) << 1 | 1
    assert f"are {scoreboard.SLOTS} slots" in TEXT
    assert f"has {scoreboard.BOARD_BYTES} bytes" in TEXT


# The example


def test_the_submit_in_hex_is_what_the_code_sends() -> None:
    payload = pack_bodies([b"hello", b"mule"])
    submit = Submit(1, 1, 2, "farm:busy", b"", payload)

    assert from_hex("SUBMIT") == submit.pack()


def test_the_confirm_in_hex_is_what_the_code_sends() -> None:
    assert from_hex("CONFIRM") == Confirm([(1, 2, 1001)]).pack()


def test_the_code_reads_the_example() -> None:
    decoder = FrameDecoder()
    decoder.feed(from_hex("SUBMIT") + from_hex("CONFIRM"))

    read = [VERBS[frame[0]](frame[1]) for frame in iter(decoder.next_frame, None)]

    submit, confirm = read
    assert isinstance(submit, Submit)
    assert Batch.received(2, submit.payload).bodies(0, 2) == [b"hello", b"mule"]
    assert confirm == Confirm([(1, 2, 1001)])


# The client


class DocClient(Protocol):
    """The class in the document."""

    sequence: int
    welcome: JsonObject

    def submit(self, target: str, messages: list[bytes]) -> list[object]: ...


class Master:
    """The other end of the document's client: a session, and a list of answers."""

    def __init__(self, sock: socket.socket, answers: Iterator[list[Verb]]) -> None:
        self.received: list[Verb] = []
        self._sock = sock
        self._session = Session(Role.MASTER, Role.CLIENT)
        self._answers = answers
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with self._sock:
            while data := self._sock.recv(7):
                for verb in self._session.receive_data(data):
                    self.received.append(verb)
                    for answer in next(self._answers):
                        self._sock.sendall(self._session.pack(answer))
        self._session.receive_eof()

    def wait(self) -> None:
        self._thread.join()


@contextmanager
def connected(*answers: list[Verb]) -> Iterator[tuple[DocClient, Master]]:
    """Run the document's client against a master that gives these answers."""
    namespace: dict[str, object] = {}
    exec(blocks("python")["client"], namespace)  # noqa: S102  (the document's code)
    make = cast("Callable[[socket.socket, str], DocClient]", namespace["Client"])
    ours, theirs = socket.socketpair()
    master = Master(theirs, iter([[WELCOME], *answers]))
    try:
        with ours:
            yield make(ours, "c0ffee"), master
    finally:
        master.wait()


WELCOME: Final = Welcome({"protocol": 1, "epoch": 7, "max_frame_bytes": 65_536})
REFUSED: Final = QueueFullError("farm:busy", 10)


def test_the_client_of_the_document_submits_and_gets_ids() -> None:
    with connected(
        [Confirm([(1, 1, 1001), (2, 1, 2000)])], [Confirm([(3, 1, 2001)])]
    ) as (client, master):
        first = client.submit("farm:busy", [b"hello", b"mule"])
        second = client.submit("mule", [b""])

    hello, submit, last = master.received
    assert (first, second) == ([1001, 2000], [2001])
    assert client.welcome == WELCOME.value
    assert isinstance(hello, Hello)
    assert choose_version(hello.value) == 1
    assert hello.value["client"] == "c0ffee"
    assert submit.pack() == from_hex("SUBMIT")
    assert last == Submit(3, 3, 1, "mule", b"", pack_bodies([b""]))


def test_the_client_of_the_document_understands_a_refusal() -> None:
    refuse = Refuse(2, 1, REFUSED.code, REFUSED.to_detail())
    draining = Refuse(3, 2, DrainingError.code, {})

    with connected([Confirm([(1, 1, 9)]), refuse], [draining]) as (client, _):
        answers = client.submit("farm:busy", [b"a", b"b"])
        later = client.submit("farm:busy", [b"c", b"d"])

    detail = {"target": "farm:busy", "limit": 10, "unit": "messages"}
    assert answers == [9, (2, detail)]
    assert later == [(4, {}), (4, {})]


def test_the_client_of_the_document_understands_close() -> None:
    with (
        connected([Close({"reason": "the master stops"})]) as (client, _),
        pytest.raises(ConnectionError, match="the master stops"),
    ):
        client.submit("mule", [b"x"])


def test_the_client_of_the_document_stays_small() -> None:
    lines = [line for line in blocks("python")["client"].splitlines() if line]

    assert len(lines) <= 50
    assert re.findall(r"^(?:import|from) (.*)$", "\n".join(lines), re.MULTILINE) == [
        "json",
        "struct",
    ]
