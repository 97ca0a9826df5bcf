"""Whatever a sender or a mule says, the daemon that keeps messages goes on."""

import itertools
import json
import socket
from typing import Final

import pytest

from pymule.sansio.batch import pack_bodies
from pymule.sansio.session import Role, Session
from pymule.sansio.verbs import Hello, Submit, Verb
from tests.conftest import MS
from tests.daemon.harness import LONG, Daemon

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60_000 * MS)]

OPTIONS: Final = (
    *("delay", "at", "priority", "ttl", "key", "message_id", "headers"),
    *("max_attempts", "max_crashes", "backoff_s", "backoff_max_s", "jitter", "odd"),
)
# At the edges of what a number, a text or a column of a database can hold.
EDGES: Final[tuple[object, ...]] = (
    *(None, True, 0, 1, -1, 9, 10, 65_535, 65_536, 2**31, 2**53, 2**63, 2**64),
    *(-(2**63) - 1, 10**300, 1e-320, 0.1, 1e9, 1e12, 253_402_300_799, 1e308, -1e308),
    *("", "x", "\ud800", "\0", "\x1b[2J", "x" * 255, "x" * 256, "' OR 1=1; --"),
    *([], {}, {"a": "b"}, {"a": "\ud800"}, {"\udfff": "b"}, {"a": 1}, {"": ""}),
)


def answers(daemon: Daemon, options: bytes) -> list[Verb]:
    """Submit a message with *options*; return what the daemon says to it."""
    session = Session(Role.CLIENT, Role.MASTER)
    hello = {"protocol": [1, 1], "client": f"odd {options[:40].hex()}"[:64]}
    submit = Submit(1, 0, 1, "mule", options, pack_bodies([b"body"]))
    heard: list[Verb] = []
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(LONG)
        sock.connect(str(daemon.socket))
        sock.sendall(Hello({**hello}).pack() + submit.pack())
        while len(heard) < 2 and (data := sock.recv(65_536)):
            heard += session.receive_data(data)
    return heard


async def test_any_options_are_kept_or_refused_and_break_no_journal(
    daemon: Daemon,
) -> None:
    daemon.program("work", "import time\ndef main():\n    time.sleep(1000)\n")
    daemon.configure("""
        state_dir = "state"
        [shared]
        durability = "disk"
        [[mule]]
        program = "work:main"
    """)
    await daemon.start()
    said = [
        json.dumps({name: edge}).encode()
        for name, edge in itertools.product(OPTIONS, EDGES)
    ]
    said += [b"{", b"[]", b"\xff", b'{"priority": NaN}', b'{"key": "a", "key": "b"}']

    heard = [answers(daemon, options) for options in said]
    kept = sum(type(verbs[1]).__name__ == "Confirm" for verbs in heard)
    first = await daemon.status()
    await daemon.stop()
    await daemon.start()

    again = await daemon.status()
    assert all(len(verbs) == 2 for verbs in heard), "welcome, and an answer"
    assert 50 < kept < len(said) - 50
    waiting = [waiting_of(status) for status in (first, again)]
    assert waiting[0] <= kept
    assert waiting[0] - waiting[1] <= ttls(said), "only those whose time was over"


def ttls(said: list[bytes]) -> int:
    return sum(options.startswith(b'{"ttl"') for options in said)


def waiting_of(status: object) -> int:
    """Return how many messages the shared queue has."""
    assert isinstance(status, dict)
    (queue,) = [row for row in status["queues"] if row["target"] == "mule"]
    counts = ("ready", "leased", "delayed", "blocked")
    return sum(int(queue.get(count, 0)) for count in counts)
