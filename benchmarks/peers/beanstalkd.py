"""beanstalkd, Debian's package: without a binlog, and with one, synced or not."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.stage import PeerError, Stage

__all__ = ("BINLOG", "MEMORY", "SYNCED", "VARIANTS", "Beanstalkd", "find", "versions")

_PROGRAM: Final = "benchmarks.programs.beanstalkd_pair"


@dataclass(frozen=True, slots=True)
class Beanstalkd:
    """One way to run it.

    Attributes:
        binlog: Words that say how often the binlog is synced; ``None`` is no binlog.
    """

    NAME: str
    binlog: tuple[str, ...] | None

    @contextmanager
    def start(self, stage: Stage, scenario: str) -> Iterator[int | None]:
        """Start everything; a receiver does the same in each scenario."""
        program = find()
        if program is None:
            raise PeerError("no beanstalkd here; Debian's package of this name has it")
        words = [] if self.binlog is None else ["-b", str(stage.state), *self.binlog]
        pid = stage.start("beanstalkd", program, "-l", f"unix:{stage.socket}", *words)
        stage.wait_for_socket(stage.socket)
        stage.start_python(_PROGRAM, "receive")
        stage.start_python(_PROGRAM, scenario)
        yield pid


MEMORY: Final = Beanstalkd("beanstalkd, no binlog", None)
# Its default is to sync after 50 ms.
BINLOG: Final = Beanstalkd("beanstalkd, binlog", ())
SYNCED: Final = Beanstalkd("beanstalkd, binlog -f0", ("-f", "0"))
VARIANTS: Final = (MEMORY, BINLOG, SYNCED)


def find() -> str | None:
    """Return the path of its executable, if there is one."""
    # make bench unpacks it beside Python, where nobody installed it.
    unpacked = Path(sys.prefix, "beanstalkd", "usr", "bin")
    return shutil.which("beanstalkd") or shutil.which("beanstalkd", path=str(unpacked))


def versions() -> dict[str, str]:
    """Return the version of the server, if it is there."""
    program = find()
    if program is None:
        return {}
    words = [program, "-v"]
    said = subprocess.check_output(words, text=True)  # noqa: S603  (our own words)
    return {"beanstalkd": said.split()[-1]}
