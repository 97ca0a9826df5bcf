"""The same, of an application that imports and keeps a lot."""

import sys

import pydantic
import typer
import uvloop

from benchmarks.programs.sitters import sit, sit_bare

__all__ = ("TABLE", "sit", "sit_bare")

_ENTRIES = 100_000

TABLE = dict.fromkeys(range(_ENTRIES), f"{pydantic.VERSION} {typer.__version__}")
"""Some 16 MiB that nobody changes."""

if __name__ == "__main__":
    uvloop.run(sit_bare(sys.argv[1]))
