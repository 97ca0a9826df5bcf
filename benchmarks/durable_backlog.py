"""How long is it from the start of a master to a million messages that wait for it?

They were confirmed before the one before it was killed. What the journal takes of the
disk is noted on the way; see docs/performance.md.
"""

import asyncio
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Final

import psutil

from benchmarks import cli
from benchmarks.disk import used_bytes
from benchmarks.notes import PAYLOAD
from benchmarks.peers.pymule import running_daemon
from benchmarks.peers.pymule_durable import DISK, configuration
from benchmarks.report import Answer, Budget, Table, number
from benchmarks.rounds import Options
from benchmarks.stage import PeerError, Stage
from pymule import Client
from pymule.errors import MasterUnavailableError

__all__ = ("Round", "answer")


@dataclass(frozen=True, slots=True)
class _Side:
    """One way to fill a queue.

    Attributes:
        role: Of the sender.
        rounds: Few: it takes long, and starts hardly differ.
    """

    name: str
    role: str
    messages: int
    rounds: int


_SIDES: Final = (
    _Side("in batches", "fill", 1_000_000, 2),
    # Each is a row of the journal; a tenth of them says what a million would take.
    _Side("one by one", "fill_apart", 100_000, 2),
)
_QUICK_MESSAGES: Final = 20_000
# Slower than this by far hangs.
_SLOWEST_PER_S: Final = 10_000
_ANSWERS_WITHIN_S: Final = 120.0
_LOOK_S: Final = 0.02
_STILL_S: Final = 2.0
_QUICK_STILL_S: Final = 0.2
_SETTLES_WITHIN_S: Final = 60.0
_MEGA: Final = 1e6
_BUDGET_S: Final = 5
_COLUMNS: Final = {
    "first start s": "first_start_s",
    "start s": "start_s",
    "to first message s": "first_message_s",
    "drained/s": "drained_per_s",
    "master MB": "master_mb",
    "filled MB": "filled_mb",
    "peak MB": "peak_mb",
    "done MB": "done_mb",
    "stopped MB": "stopped_mb",
}

_FORMS: Final = {
    "first_start_s": ".2f",
    "start_s": ".2f",
    "first_message_s": ".2f",
    "drained_per_s": ",.0f",
}


@dataclass(frozen=True, slots=True)
class Round:
    """One round; megabytes are of the disk, but for the master's memory.

    Attributes:
        first_start_s: From starting a master that finds nothing to its first answer.
        start_s: From starting the second master to its first answer.
        first_message_s: From then to the first message in a mule.
        filled_mb: When all were confirmed.
        peak_mb: The most that was seen.
        done_mb: When all were done and nothing changed any more.
        stopped_mb: When the master was stopped.
    """

    messages: int
    first_start_s: float
    start_s: float
    first_message_s: float
    drained_per_s: float
    master_mb: float
    filled_mb: float
    peak_mb: float
    done_mb: float
    stopped_mb: float


def answer(options: Options) -> Answer:
    """Measure."""
    found: dict[_Side, list[Round]] = {}
    failure = None
    try:
        for side in _SIDES if options.wants(DISK) else ():
            found[side] = list(_rounds_of(side, options))
    except PeerError as exc:
        failure = f"did not run: {exc}"
    data = {
        "failure": failure,
        "sides": {side.name: list(map(asdict, many)) for side, many in found.items()},
    }
    starts = [one.start_s for one in found.get(_SIDES[0], ())]
    budget = Budget(
        "start of a master that finds a million messages",
        _BUDGET_S,
        tuple(starts),
        unit="s",
    )
    return Answer(
        "durable_backlog",
        cli.question_of(__doc__),
        (_table(found),),
        data,
        budgets=(budget,),
        failures=() if failure is None else (failure,),
    )


def _rounds_of(side: _Side, options: Options) -> Iterator[Round]:
    rounds = options.rounds or (1 if options.is_quick else side.rounds)
    usual = _QUICK_MESSAGES if options.is_quick else side.messages
    count = options.messages or usual
    still_s = _STILL_S if count == side.messages else _QUICK_STILL_S
    for at in range(rounds):
        print(f"  round {at + 1} of {rounds}: {side.name}", file=sys.stderr)
        yield _round(side.role, count, still_s)


def _round(role: str, count: int, still_s: float) -> Round:
    within = 30 + count / _SLOWEST_PER_S
    # Room for all, whatever the bounds are by default.
    room = {"max_messages": 2 * count, "max_bytes": 2**32}
    with Stage("backlog", count) as stage, _peak_of(stage.state) as peak:
        refusing, draining = (
            configuration(stage, DISK.durability, program, **room)
            for program in ("refuse", "drain")
        )
        began = monotonic()
        with running_daemon(stage, "-c", str(refusing)):
            first_start_s = _answered(stage.socket) - began
            stage.start_python("benchmarks.programs.pymule_sender", role)
            stage.wait("sent", within=within, step=0.1)
            filled = used_bytes(stage.state)
            stage.stop("pymuled", signal.SIGKILL)
        # A killed master leaves it behind, and what is waited for is the next one's.
        stage.socket.unlink(missing_ok=True)
        began = monotonic()
        with running_daemon(stage, "-c", str(draining)) as pid:
            started = _answered(stage.socket)
            master = psutil.Process(pid).memory_info().rss
            first = number(stage.wait("first", within=within), "at")
            received = stage.wait("received", within=within, step=0.1)
            done = _settled(stage.state, still_s)
            stage.stop("pymuled", signal.SIGTERM)
        if number(received, "size") != count * len(PAYLOAD):
            raise PeerError(f"{received['size']} bytes came of {count} messages")
        return Round(
            messages=count,
            first_start_s=first_start_s,
            start_s=started - began,
            first_message_s=first - began,
            drained_per_s=count / (number(received, "at") - first),
            master_mb=master / _MEGA,
            filled_mb=filled / _MEGA,
            peak_mb=max(peak) / _MEGA,
            done_mb=done / _MEGA,
            stopped_mb=used_bytes(stage.state) / _MEGA,
        )


def _answered(socket: Path) -> float:
    """Return the instant at which a master answered; its socket is there before."""
    deadline = monotonic() + _ANSWERS_WITHIN_S
    while monotonic() < deadline:
        with suppress(MasterUnavailableError):
            asyncio.run(_greet(socket))
            return monotonic()
        time.sleep(_LOOK_S)
    raise PeerError(f"no answer within {_ANSWERS_WITHIN_S:g} s")


async def _greet(socket: Path) -> None:
    async with Client(socket):
        pass


@contextmanager
def _peak_of(folder: Path) -> Iterator[list[int]]:
    """Look at the size of *folder* all the time; yield a list with the greatest."""
    greatest = [0]
    is_over = threading.Event()

    def look() -> None:
        while not is_over.wait(_LOOK_S):
            greatest[0] = max(greatest[0], used_bytes(folder))

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield greatest
    finally:
        is_over.set()
        looking.join()


def _settled(folder: Path, still_s: float) -> int:
    """Return the size of *folder* once it did not change for so many seconds."""
    size, since = used_bytes(folder), monotonic()
    deadline = since + _SETTLES_WITHIN_S
    while (now := monotonic()) < deadline and now - since < still_s:
        time.sleep(_LOOK_S)
        if (found := used_bytes(folder)) != size:
            size, since = found, now
    return size


def _table(found: Mapping[_Side, list[Round]]) -> Table:
    columns = ("", "messages", "rounds", *_COLUMNS)
    rows = []
    for side, played in found.items():
        cells = [f"{played[0].messages:,}", str(len(played))]
        for column in _COLUMNS.values():
            values = [float(asdict(one)[column]) for one in played]
            cells.append(f"{median(values):{_FORMS.get(column, ',.1f')}}")
        rows.append((side.name, *cells))
    return Table("medians", columns, tuple(rows))


if __name__ == "__main__":
    cli.main({"durable_backlog": answer})
