"""Which mules have which functions, by the names of their queues.

A mule tells its functions before it says that it is ready; what a process has told by
then replaces what the one before it told. Until it is known that a mule will not come
back, what its last process had counts.
"""

from collections.abc import Iterable
from functools import lru_cache

from pymule.sansio.link import LinkId
from pymule.sansio.target import FUNCTION_NAME, MuleId, Target, TargetKind

__all__ = ("FunctionTable", "is_function")


@lru_cache(maxsize=1024)
def is_function(target: str) -> bool:
    """Whether *target*, in its canonical form, is a function."""
    return target.startswith("func:")


class FunctionTable:
    """The functions of all mules."""

    def __init__(self) -> None:
        # By name, in the order in which they came.
        self._mules: dict[str, dict[MuleId, None]] = {}
        # What each process has told.
        self._told: dict[LinkId, dict[str, None]] = {}

    @property
    def names(self) -> list[str]:
        """The functions that a mule has, or had and may have again."""
        return list(self._mules)

    def add(self, link: LinkId, mule: MuleId, names: Iterable[object]) -> list[str]:
        """A process of *mule* has functions of these *names*; return their targets.

        Raises:
            ValueError: One of them is no name of a function; none is added.
        """
        targets = [str(_target(name)) for name in names]
        for target in targets:
            self._told.setdefault(link, {})[target] = None
            self._mules.setdefault(target, {})[mule] = None
        return targets

    def ready(self, link: LinkId, mule: MuleId) -> None:
        """A process of *mule* has told all: what only its predecessor had is gone."""
        told = self._told.get(link, {})
        self._forget(mule, [name for name in self._mules if name not in told])

    def link_gone(self, link: LinkId) -> None:
        """A process ended."""
        self._told.pop(link, None)

    def mule_removed(self, mule: MuleId) -> None:
        """A mule stays down, or a reload took it away."""
        self._forget(mule, list(self._mules))

    def _forget(self, mule: MuleId, names: Iterable[str]) -> None:
        for name in names:
            self._mules[name].pop(mule, None)
            if not self._mules[name]:
                del self._mules[name]


def _target(name: object) -> Target:
    if not isinstance(name, str) or not FUNCTION_NAME.fullmatch(name):
        raise ValueError(
            f"function {name!r}; allowed: 'MODULE:NAME', each of 1 to 200 characters"
            " without spaces, colons and control characters"
        )
    return Target(TargetKind.FUNCTION, name=name)
