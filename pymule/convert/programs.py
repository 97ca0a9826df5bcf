"""What uWSGI runs and loads, in our words: programs of mules, and the application."""

from pathlib import PurePosixPath
from typing import Final

__all__ = ("module_of", "program_of")

_NONE: Final = frozenset({"", "true", "1", "yes", "on"})


def program_of(value: str) -> tuple[str, str]:
    """Return the program of ``mule = value``, and why it is none, if it should be one.

    uWSGI starts a mule without a program whatever else *value* is.
    """
    if value.lower() in _NONE:
        return "", ""
    if value.endswith(".py"):
        return value, ""
    module, colon, function = value.partition(":")
    if colon and _is_dotted(module) and _is_dotted(function):
        return value, ""
    if function.endswith("()"):
        return "", "a mule here calls what is named, and not what that returns"
    return "", "is no script and no callable; allowed: NAME.py, or pkg.mod:callable"


def module_of(value: str) -> tuple[str, str] | None:
    """Return module and directory of what uWSGI imports; ``None`` if we could not.

    Args:
        value: ``pkg.mod``, ``pkg.mod:callable``, or the path of a file. The directory
            is where the module is found, empty if Python looks there anyway.
    """
    path, _, _ = value.partition(":")
    if path.endswith(".py"):
        file = PurePosixPath(path)
        parent = "" if str(file.parent) == "." else str(file.parent)
        return (file.stem, parent) if file.stem.isidentifier() else None
    return (path, "") if _is_dotted(path) else None


def _is_dotted(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))
