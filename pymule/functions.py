"""The functions of this process that mules run for others: ``@mulefunc``.

The decorator only notes the function. A mule whose target it is tells the master; in
any other process, nothing happens until it is called.
"""

import inspect
from collections.abc import Callable
from typing import Final

from pymule.sansio.slots import frozen
from pymule.sansio.target import FUNCTION_NAME, Target, TargetKind

__all__ = (
    "MSGPACK",
    "PICKLE",
    "Function",
    "Functions",
    "function_name",
    "functions",
    "target_of_mules",
)

MSGPACK: Final = b"\x01"
"""First byte of a call whose arguments are msgpack: ``[args, kwargs]``."""

PICKLE: Final = b"\x02"
"""First byte of a call whose arguments are a pickle of the same."""


@frozen(eq=False)
class Function:
    """A function that mules run.

    Args:
        name: ``module:qualified.name``, the same in all processes.
        target: Of the mules that run it.
        function: What the decorator was given.
    """

    name: str
    target: Target
    function: Callable[..., object]

    @property
    def queue(self) -> str:
        """Where its calls wait."""
        return f"func:{self.name}"

    @property
    def is_async(self) -> bool:
        """Whether it is an ``async def``."""
        return inspect.iscoroutinefunction(self.function)

    def is_for(self, mule: int, farms: list[str]) -> bool:
        """Whether mule number *mule*, which is in *farms*, runs it."""
        match self.target.kind:
            case TargetKind.MULE:
                return self.target.number == mule
            case TargetKind.FARM:
                return self.target.name in farms
            case _:
                return True


class Functions:
    """The functions that this process has noted, by name."""

    def __init__(self) -> None:
        self.by_name: dict[str, Function] = {}
        # Tells the master of what is noted from now on; set by a mule.
        self.on_added: Callable[[Function], None] | None = None

    def add(self, function: Function) -> None:
        """Note *function*; one of the same name takes the place of the last."""
        self.by_name[function.name] = function
        if self.on_added is not None:
            self.on_added(function)


functions: Final = Functions()
"""Of this process."""


def target_of_mules(where: int | str | None) -> Target:
    """Return the mules that *where* means: a number, the name of a farm, or any mule.

    Raises:
        TypeError: It is something else.
        ValueError: It cannot be the number of a mule or the name of a farm.
    """
    if where is None or (isinstance(where, int) and not isinstance(where, bool)):
        return Target.of(mule=where)
    if isinstance(where, str):
        return Target.of(farm=where)
    raise TypeError(
        f"mulefunc of {where!r}; allowed: a function, the number of a mule or the name"
        " of a farm"
    )


def function_name(function: Callable[..., object]) -> str:
    """Return the name by which all processes know *function*.

    Of a script it is that of the file, as if it had been imported.

    Raises:
        TypeError: It is no function that has a name.
    """
    plain = inspect.unwrap(function)
    module = getattr(plain, "__module__", None)
    if module == "__main__":
        module = _module_of_script(getattr(plain, "__globals__", {}))
    name = f"{module}:{getattr(plain, '__qualname__', '')}"
    if not FUNCTION_NAME.fullmatch(name):
        raise TypeError(
            f"{function!r} has the name {name!r}; allowed: a function of a module, with"
            " at most 200 characters for each of their names"
        )
    return name


def _module_of_script(script: dict[str, object]) -> str:
    spec_name = getattr(script.get("__spec__"), "name", None)
    from pathlib import Path  # noqa: PLC0415  (costs mules without one 3 ms)

    return str(spec_name or Path(str(script.get("__file__", "__main__"))).stem)
