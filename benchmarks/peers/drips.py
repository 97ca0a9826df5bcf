"""Who carries messages at planned instants: one way, or there and back."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.peers import pymule, uwsgi
from benchmarks.stage import PeerError, Stage

__all__ = ("BACK", "ONE_WAY", "PYMULE", "RELAY", "VARIANTS", "Pymule", "Relay", "Uwsgi")

_ROOT: Final = Path(__file__).parents[2]
_UWSGI: Final = _ROOT / "benchmarks" / "programs" / "drip_uwsgi.py"
_MULE: Final = "benchmarks.programs.drip_mule"
_SENDER: Final = "benchmarks.programs.drip_sender"
_RELAY: Final = "benchmarks.programs.drip_relay"


@dataclass(frozen=True, slots=True)
class Pymule:
    """A daemon with mules.

    Attributes:
        programs: Of the mules.
        sender: Word for the sender outside of them; empty if the last mule is that.
    """

    NAME: str
    programs: tuple[str, ...]
    sender: str = ""

    @contextmanager
    def start(self, stage: Stage, _scenario: str) -> Iterator[int | None]:
        """Start everything; yield the master's pid."""
        mules = [f"--mule={_MULE}:{program}" for program in self.programs]
        with pymule.running_daemon(stage, *mules, "--socket", str(stage.socket)) as pid:
            if self.sender:
                stage.start_python(_SENDER, self.sender)
            yield pid


@dataclass(frozen=True, slots=True)
class Relay:
    """A process that passes on bytes, between two others.

    Attributes:
        end: Role of the process that it passes them to.
        sender: Role of the one that they come from.
    """

    NAME: str
    end: str
    sender: str

    @contextmanager
    def start(self, stage: Stage, _scenario: str) -> Iterator[int | None]:
        """Start all three, each when its predecessor listens."""
        stage.start_python(_RELAY, self.end)
        stage.wait_for_socket(stage.folder / "end")
        pid = stage.start_python(_RELAY, "relay")
        stage.wait_for_socket(stage.folder / "middle")
        stage.start_python(_RELAY, self.sender)
        yield pid


@dataclass(frozen=True, slots=True)
class Uwsgi:
    """Two mules of uWSGI; nothing is in the middle.

    Attributes:
        way: ``one`` or ``back``.
    """

    NAME: str
    way: str

    @contextmanager
    def start(self, stage: Stage, _scenario: str) -> Iterator[int | None]:
        """Start both; the end of the stage ends them."""
        beside_python = Path(sys.executable).parent
        program = shutil.which("uwsgi", path=str(beside_python))
        program = program or shutil.which("uwsgi")
        if program is None:
            raise PeerError("no uwsgi here; the extra 'bench' installs it")
        stage.start(
            "uwsgi",
            program,
            "--master",
            "--no-orphans",
            f"--env=PYMULE_BENCH_WAY={self.way}",
            f"--socket={stage.socket}",
            f"--virtualenv={sys.prefix}",
            f"--pythonpath={_ROOT}",
            f"--mule={_UWSGI}",
            f"--mule={_UWSGI}",
            is_quiet=True,
        )
        yield None


PYMULE: Final = Pymule(pymule.NAME, ("receiver",), "async")
RELAY: Final = Relay("bare relay", "receiver", "sender")
_BLOCKING_MULE: Final = Pymule("pymule, blocking mule", ("receiver_blocking",), "async")
_BLOCKING_SENDER: Final = Pymule("pymule, blocking sender", ("receiver",), "blocking")
_BLOCKING_ECHO: Final = Pymule(
    "pymule, blocking echo", ("echo_blocking", "round_tripper")
)

ONE_WAY: Final = (
    PYMULE,
    _BLOCKING_MULE,
    _BLOCKING_SENDER,
    RELAY,
    Uwsgi(uwsgi.NAME, "one"),
)
BACK: Final = (
    Pymule(PYMULE.NAME, ("echo", "round_tripper")),
    _BLOCKING_ECHO,
    Relay(RELAY.NAME, "echo", "round_tripper"),
    Uwsgi(uwsgi.NAME, "back"),
)
# Those whose names no other module has.
VARIANTS: Final = (RELAY, _BLOCKING_MULE, _BLOCKING_SENDER, _BLOCKING_ECHO)
