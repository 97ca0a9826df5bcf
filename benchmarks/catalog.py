"""Which benchmarks and which peers there are: found in their folders, listed nowhere.

A benchmark is a module of this package whose first line is a question; its ``answer``
takes the options and returns an answer. A peer is a module of ``benchmarks.peers`` with
a ``NAME`` and a ``start``, or with ``VARIANTS`` that have both; its ``versions``, if it
has one, says what it runs that is no package of the extra ``bench``. Peers are imported
everywhere, so what only their processes need is imported by their programs.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Final

from benchmarks import peers
from benchmarks.report import Answer
from benchmarks.rounds import Options

__all__ = ("Benchmark", "benchmarks", "peer_names", "peer_versions", "placed")

Benchmark = Callable[[Options], Answer]

_FOLDER: Final = Path(__file__).parent
# Most wanted first; those that are not here follow by their names.
_FIRST: Final = (
    "throughput",
    "latency",
    "calls",
    "jobs",
    "web",
    "loop",
    "slow",
    "durable",
    "recovery",
    "start",
    "memory",
    "depth",
    "flat",
)


def benchmarks() -> dict[str, Benchmark]:
    """Return all benchmarks, in the order in which they are asked."""
    names = [path.stem for path in _FOLDER.glob("*.py") if _is_question(path)]
    return {
        name: importlib.import_module(f"benchmarks.{name}").answer
        for name in sorted(names, key=placed)
    }


def placed(name: str) -> tuple[int, str]:
    """Return what benchmarks are sorted by; a group stays together."""
    group = name.partition("_")[0]
    return (_FIRST.index(group) if group in _FIRST else len(_FIRST), name)


def peer_names() -> list[str]:
    """Return what tables call the peers, each once; some are in several benchmarks."""
    names = (name for module in _peers() for name in _names_of(module))
    return list(dict.fromkeys(names))


def peer_versions() -> Mapping[str, str]:
    """Return what peers say they run, by what it is called."""
    versions: dict[str, str] = {}
    for module in _peers():
        if hasattr(module, "versions"):
            versions |= module.versions()
    return versions


def _is_question(path: Path) -> bool:
    with path.open() as text:
        return text.readline().rstrip().endswith("?")


def _peers() -> Iterator[ModuleType]:
    for found in pkgutil.iter_modules(peers.__path__):
        yield importlib.import_module(f"{peers.__name__}.{found.name}")


def _names_of(module: ModuleType) -> list[str]:
    if hasattr(module, "VARIANTS"):
        return [variant.NAME for variant in module.VARIANTS]
    return [module.NAME] if hasattr(module, "NAME") else []
