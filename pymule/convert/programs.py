"""What uWSGI's mules run, as a program of ours."""

from typing import Final

__all__ = ("is_dotted", "program_of")

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
    if colon and is_dotted(module) and is_dotted(function):
        return value, ""
    if function.endswith("()"):
        return "", "a mule here calls what is named, and not what that returns"
    return "", "is no script and no callable; allowed: NAME.py, or pkg.mod:callable"


def is_dotted(text: str) -> bool:
    """Tell whether Python could have a module, or a thing in one, of that name."""
    return all(part.isidentifier() for part in text.split("."))
