"""uWSGI's magic variables: ``%d`` and others, about the file that they stand in."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

__all__ = ("Magic",)

_VARIABLE: Final = re.compile(r"%(.)", re.DOTALL)
# Stay as they are: a percent sign, and a placeholder for later.
_LATER: Final = {"%": "%", "(": "%("}
# What only the machine and the moment of the start can tell.
_AT_START: Final = frozenset("bghijktuvGIJTUV")


@dataclass(frozen=True, slots=True)
class Magic:
    """The variables of one file; ``None`` for what comes from a pipe."""

    variables: Mapping[str, str] | None

    @classmethod
    def of_file(
        cls, path: Path, name: str, section: str, first: "Self | None" = None
    ) -> Self:
        """Return the variables of the file at *path*.

        Args:
            path: Absolute.
            name: As it was given.
            section: As it was given.
            first: Of the file that included this one: capitals are about that.
        """
        suffix = path.suffix.removeprefix(".")
        own = {
            "c": path.parent.name,
            # With the slash at its end: people write both %d/x and %dx.
            "d": f"{path.parent}/".replace("//", "/"),
            "e": suffix,
            "n": path.name.removesuffix(f".{suffix}") if suffix else path.name,
            "o": name,
            "p": str(path),
            "s": path.name,
            "x": section,
        }
        parts = path.parent.parts[1:11]
        numbered = {str(index): part for index, part in enumerate(parts)}
        capitals = own if first is None else first.variables or {}
        above = {key.upper(): capitals.get(key, "") for key in own}
        return cls({**own, **numbered, **above})

    def put_into(self, value: str) -> tuple[str, str]:
        """Return *value* with its variables replaced, and why that is in doubt, if so.

        As in uWSGI, what follows a percent sign and means nothing vanishes with it.
        """
        doubts: list[str] = []

        def replaced(found: re.Match[str]) -> str:
            char = found[1]
            if char in _LATER:
                return _LATER[char]
            if self.variables is None or char in _AT_START:
                doubts.append(f"%{char} is known only where and when uWSGI starts")
                return found[0]
            return self.variables.get(char, "")

        return _VARIABLE.sub(replaced, value), doubts[0] if doubts else ""
