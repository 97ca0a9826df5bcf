"""Run a command of ``pymule`` in this process against queues of a desk."""

import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from pymule.cli import pymule
from pymule.cli.entry import run_app
from tests.master.queue_desk import DeskMaster, QueueDesk

__all__ = ("Runs", "Terminal")


class Terminal(io.StringIO):
    """A stdin at which a person types."""

    def isatty(self) -> bool:
        return True


@dataclass(frozen=True)
class Run:
    """How a command ended, and what it wrote."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> object:
        return json.loads(self.out)

    @property
    def rows(self) -> list[dict[str, object]]:
        rows = self.json
        assert isinstance(rows, list)
        return rows


class Runs:
    """Runs commands, and has the desk that they work on."""

    def __init__(
        self,
        path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        self.desk = QueueDesk("mule", "farm:busy")
        self.master = DeskMaster(path, self.desk)
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *words: object, typed: str | None = None) -> Run:
        """Run ``pymule`` with *words*; a person types *typed*, or there is none."""
        stdin = io.StringIO() if typed is None else Terminal(typed)
        self._monkeypatch.setattr(sys, "stdin", stdin)
        arguments = [*map(str, words), "--socket", str(self.master.path)]
        status = run_app(pymule.app, arguments, "pymule")
        out, err = self._capsys.readouterr()
        return Run(status, out, err)
