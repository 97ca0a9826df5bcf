"""Which mule this process is, if it is one."""

from collections.abc import Iterable

from pymule.errors import NotInMuleError
from pymule.mule.runtime import Runtime

__all__ = ("in_farm", "introduce", "mule_id", "runtime", "set_runtime")

_runtime: Runtime | None = None
_mule_id = 0
_farms: frozenset[str] = frozenset()


def introduce(number: int, farms: Iterable[str]) -> None:
    """Say which mule this process is, before anything of the user's is loaded."""
    global _mule_id, _farms
    _mule_id, _farms = number, frozenset(farms)


def set_runtime(current: Runtime | None) -> None:
    """Make this process a mule, once, before its program runs."""
    global _runtime  # noqa: PLW0603  (as above)
    _runtime = current
    if current is None:
        introduce(0, ())
    else:
        introduce(current.link.mule_id, current.link.farms)


def runtime(caller: str) -> Runtime:
    """Return the runtime of this mule.

    Raises:
        NotInMuleError: This process is not a mule; names *caller*.
    """
    if _runtime is None:
        raise NotInMuleError(caller)
    return _runtime


def mule_id() -> int:
    """Return the number of this mule, or 0 outside of one."""
    return _mule_id


def in_farm(name: str) -> bool:
    """Tell whether this process is a mule of the farm *name*."""
    return name in _farms
