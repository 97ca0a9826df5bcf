"""What of uWSGI's application a mule without a program imports.

Mules of uWSGI have all that the master imported: what it serves, unless that is left to
the workers, and what it was told to import besides. Ours import one module.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final

from pymule.convert.option import Option
from pymule.convert.options import Meaning
from pymule.convert.programs import is_dotted

__all__ = ("APPLICATIONS", "Choice", "choose_application")

APPLICATIONS: Final = (Meaning.MODULE, Meaning.FILE, Meaning.MOUNT, Meaning.IMPORT)
"""Options that name something to import, the best first."""

_LAZY: Final = (Meaning.IMPORT, Meaning.MODULE, Meaning.FILE, Meaning.MOUNT)


@dataclass(slots=True)
class Choice:
    """The module that was chosen, if any, and what was not.

    Args:
        module: Empty if there is none.
        directory: Where it is found; empty if Python looks there anyway.
        others: Modules, but not the one.
        strange: No modules that Python could import.
    """

    module: str = ""
    directory: str = ""
    others: list[tuple[Meaning, Option]] = field(default_factory=list)
    strange: list[Option] = field(default_factory=list)


def choose_application(
    options: Sequence[tuple[Meaning, Option]], *, is_lazy: bool
) -> Choice:
    """Choose from *options*, which are in the order of the file.

    Args:
        options: Each with its meaning, one of :data:`APPLICATIONS`.
        is_lazy: What is served was not imported by the master.
    """
    order = _LAZY if is_lazy else APPLICATIONS
    choice = Choice()
    for meaning, option in sorted(options, key=lambda entry: order.index(entry[0])):
        found = _module(meaning, option.value)
        if found is None:
            choice.strange.append(option)
        elif not choice.module:
            choice.module, choice.directory = found
        elif found[0] != choice.module:
            choice.others.append((meaning, option))
    return choice


def _module(meaning: Meaning, value: str) -> tuple[str, str] | None:
    """Return a module and its directory; ``None`` if Python could not import it."""
    if meaning is Meaning.MOUNT:
        value = value.partition("=")[2]
    path, _, _ = value.partition(":")
    if path.endswith(".py"):
        file = PurePosixPath(path)
        parent = "" if str(file.parent) == "." else str(file.parent)
        return (file.stem, parent) if file.stem.isidentifier() else None
    is_module = meaning is not Meaning.FILE and is_dotted(path)
    return (path, "") if is_module else None
