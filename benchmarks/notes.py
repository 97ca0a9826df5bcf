"""What the processes of a round tell each other: small JSON files in its folder.

Light, because senders and receivers of every peer import it, uWSGI's mules too. All
instants are ``time.monotonic``, which is CLOCK_MONOTONIC: the same in every process.
"""

import json
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

__all__ = (
    "COUNT",
    "FOLDER",
    "PAYLOAD",
    "PERIOD_S",
    "SCENARIO",
    "SIZE",
    "WARM_UP",
    "Note",
    "latency_of",
    "lateness_of",
    "nap_before",
    "note",
    "read_note",
    "stamped",
    "wait_for",
    "write_note",
)

Note = dict[str, object]

FOLDER: Final = "PYMULE_BENCH_FOLDER"
"""Names the round's folder to its processes."""
COUNT: Final = "PYMULE_BENCH_COUNT"
"""Names how many messages are measured."""
SCENARIO: Final = "PYMULE_BENCH_SCENARIO"
"""Names what to do, to programs that cannot be given words."""

SIZE: Final = "PYMULE_BENCH_SIZE"
"""Names how many bytes a message has."""

_SIZE: Final = int(os.environ.get(SIZE, "128"))
PAYLOAD: Final = (bytes(range(256)) * (_SIZE // 256 + 1))[:_SIZE]
# Sent and received before the clock starts: caches, credit and connections are warm.
# Of large ones, fewer do.
WARM_UP: Final = min(1000, 2**26 // _SIZE)
PERIOD_S: Final = 0.002
"""Between two signals."""

_STAMP: Final = struct.Struct("=dd112x")
# A sleep ends up to a millisecond late on uvloop, whose timers count milliseconds. So
# senders sleep for the most part and spin for the rest.
_SPIN_S: Final = 0.001


def note(name: str, **facts: object) -> None:
    """Leave a note; whoever waits for it sees all of it or nothing."""
    write_note(Path(os.environ[FOLDER]), name, facts)


def write_note(folder: Path, name: str, facts: Note) -> None:
    """Leave a note in the *folder* of any round."""
    draft = folder / f".{name}.{os.getpid()}"
    draft.write_text(json.dumps(facts))
    draft.replace(folder / name)


def read_note(folder: Path, name: str) -> Note | None:
    """Return what was noted, or ``None`` until it is there."""
    try:
        text = (folder / name).read_text()
    except FileNotFoundError:
        return None
    facts: Note = json.loads(text)
    return facts


def wait_for(name: str, *, within: float = 60.0, step: float = 0.001) -> Note:
    """Block until somebody left the note, and look each *step* seconds.

    Raises:
        TimeoutError: Nobody did, within so many seconds.
    """
    folder = Path(os.environ[FOLDER])
    deadline = time.monotonic() + within
    while (facts := read_note(folder, name)) is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody noted {name!r} within {within:g} s")
        time.sleep(step)
    return facts


def stamped(planned: float, sent: float) -> bytes:
    """Return a message of 128 bytes that carries two instants."""
    return _STAMP.pack(planned, sent)


def latency_of(message: bytes, now: float) -> float:
    """Return the seconds since *message* was to be sent, late or not."""
    planned, _ = _STAMP.unpack(message)
    return now - float(planned)


def lateness_of(message: bytes) -> float:
    """Return by how many seconds the sender itself was late."""
    planned, sent = _STAMP.unpack(message)
    return float(sent) - float(planned)


def nap_before(planned: float, *, clock: Callable[[], float] = time.monotonic) -> float:
    """Return how many seconds to sleep until it is time to spin for *planned*."""
    return max(0.0, planned - clock() - _SPIN_S)
