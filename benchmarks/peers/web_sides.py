"""uvicorn and FastAPI, with different ways to have a request's work done elsewhere."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Final

from benchmarks.peers import job_libraries, pymule_jobs
from benchmarks.stage import Stage

__all__ = ("BACKGROUND", "NOTHING", "PYMULE", "VARIANTS", "WebSide")

_SIDE: Final = "PYMULE_BENCH_SIDE"


@dataclass(frozen=True, slots=True)
class WebSide:
    """One of them.

    Attributes:
        library: Which takes the jobs; ``None`` where none does.
        is_working: Whether there are jobs at all.
    """

    NAME: str
    library: pymule_jobs.PymuleJobs | job_libraries.JobLibrary | None = None
    is_working: bool = True

    @contextmanager
    def start(self, stage: Stage, scenario: str) -> Iterator[int | None]:
        """Start everything: worker, web server, its pulse and who asks."""
        library = self.library
        started = library.start(stage, scenario) if library else nullcontext()
        with started as middle:
            python = library.python() if library else (sys.executable,)
            side = "background" if self.is_working else "nothing"
            socket = stage.folder / "web"
            stage.start(
                "uvicorn",
                "env",
                f"{_SIDE}={library.module if library else side}",
                *python,
                *("-m", "uvicorn", "benchmarks.programs.web_app:app"),
                *("--uds", str(socket), "--no-access-log", "--log-level", "warning"),
            )
            stage.start("pulse", sys.executable, "-m", "benchmarks.pulse")
            stage.wait_for_socket(socket)
            stage.note("is_working", is_working=self.is_working)
            stage.start_python("benchmarks.programs.web_load")
            yield middle


NOTHING: Final = WebSide("no job", is_working=False)
BACKGROUND: Final = WebSide("BackgroundTasks")
PYMULE: Final = WebSide("pymule farm_msg", pymule_jobs.MEMORY)
VARIANTS: Final = (
    PYMULE,
    NOTHING,
    BACKGROUND,
    WebSide("arq from FastAPI", job_libraries.ARQ),
    WebSide("Celery from FastAPI", job_libraries.CELERY),
)
