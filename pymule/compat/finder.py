"""Where ``import uwsgi`` finds our module, once it was asked for.

Programs ask ``try: import uwsgi`` to learn whether they run under uWSGI, so the names
exist only in a mule with ``uwsgi = true`` and where :func:`install` was called.
"""

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Final

__all__ = ("install",)

_HOMES: Final = {
    "uwsgi": "pymule.compat.uwsgi",
    "uwsgidecorators": "pymule.compat.uwsgidecorators",
}


class _Finder(MetaPathFinder, Loader):
    """Finds our modules under uWSGI's names."""

    def __init__(self) -> None:
        self._specs: dict[ModuleType, ModuleSpec | None] = {}

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        del path, target
        return ModuleSpec(fullname, self) if fullname in _HOMES else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(_HOMES[spec.name])
        self._specs[module] = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # It has run under its own name; the import has just put another spec there.
        module.__spec__ = self._specs.pop(module)


_finder: Final = _Finder()


def install() -> None:
    """Let ``import uwsgi`` and ``import uwsgidecorators`` work in this process.

    For a web process or a script, before it imports the application; a mule with
    ``uwsgi = true`` has done it. They go before an installed package of that name.
    When the process registers its first signal handler it becomes a worker.
    """
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
