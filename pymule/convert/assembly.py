"""From options as they were written to those that count, in the order they count in.

uWSGI goes from the top to the bottom, and takes in an included file on the spot; only
what is ``inherit``ed comes after all others. Placeholders are put in later, so an
include never has any.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Final

from pymule.convert.conditions import CLOSING, OPENING, Block, open_block, open_else
from pymule.convert.formats import read_file, split_section
from pymule.convert.magic import Magic
from pymule.convert.option import Option
from pymule.convert.options import INCLUDES, SETTING
from pymule.convert.surroundings import Surroundings
from pymule.errors import ConfigError

__all__ = ("Assembly", "assemble")

_MAX_OPTIONS: Final = 20_000
_ABOUT_ELSE: Final = "as in uWSGI 2.1; 2.0 has no else, and goes on with the if"
_MAX_DEPTH: Final = 20


@dataclass(frozen=True, slots=True)
class Assembly:
    """What the files say.

    Args:
        options: Those that count, and those in doubt.
        conditions: Those that were decided, each with the verdict.
    """

    options: list[Option] = field(default_factory=list)
    conditions: list[tuple[Option, str]] = field(default_factory=list)


def assemble(
    options: Iterable[Option],
    surroundings: Surroundings,
    magic: Magic | None,
    name: str = "",
) -> Assembly:
    """Return what *options* come to when includes and conditions are followed.

    Args:
        options: Of one file, or of a command line.
        surroundings: Where included files are.
        magic: Of that file; ``None`` for a command line.
        name: The file as it was given, with its section; empty if it was none.

    Raises:
        ConfigError: There are too many.
    """
    assembler = _Assembler(surroundings, magic, name)
    assembler.take(options)
    return assembler.finish()


class _Assembler:
    def __init__(
        self, surroundings: Surroundings, magic: Magic | None, name: str
    ) -> None:
        self._surroundings = surroundings
        self._magic = magic
        self._count = 0
        self._done = Assembly()
        self._inherited: list[Option] = []
        # The block that is open, and the last one, for an else.
        self._block: Block | None = None
        self._last: Block | None = None
        # What opened the block; an else has no condition of its own.
        self._opening: Option | None = None
        # Files that are being read, so that none reads itself.
        self._reading = [name]
        self._last_ini = split_section(name, surroundings)[0]

    def take(self, options: Iterable[Option]) -> None:
        """Go on with *options*."""
        for option in options:
            if option.name in CLOSING:
                self._block = self._last = self._opening = None
            elif option.name == "else":
                self._block = open_else(self._last)
                self._done.conditions.append((option, _ABOUT_ELSE))
                self._opening = None
            elif self._block is None or option.name in OPENING:
                self._take_one(option)
            else:
                for copy in self._current_block().apply(option):
                    self._take_one(copy)

    def finish(self) -> Assembly:
        """Return what was taken, after what was inherited has been taken too."""
        for option in self._inherited:
            self._include(option)
        return self._done

    def _take_one(self, option: Option) -> None:
        self._count += 1
        if self._count > _MAX_OPTIONS:
            raise ConfigError(
                f"{option.origin}: found more than {_MAX_OPTIONS} options,"
                " with those of files it includes; allowed: less"
            )
        if option.name in OPENING:
            self._open(option)
        elif option.name in SETTING and "=" in option.value:
            name, _, value = option.value.partition("=")
            self._done.options.append(
                replace(option, name=name, value=value, is_placeholder=True)
            )
        elif option.name in INCLUDES and not (option.doubt or option.condition):
            self._include(option)
        else:
            if option.name == "ienv" and not option.condition:
                name, _, value = option.value.partition("=")
                self._surroundings.set_variable(name, value)
            self._done.options.append(option)

    def _open(self, option: Option) -> None:
        if self._block is not None:
            doubt = "uWSGI has no blocks in blocks and does not start"
            self._done.options.append(replace(option, doubt=doubt))
            return
        self._opening = option
        block = self._current_block()
        if block.verdict:
            self._done.conditions.append((option, block.verdict))

    def _current_block(self) -> Block:
        """Return the open block, with its condition as it is now.

        uWSGI asks for each option anew: after ``if-not-opt = mule`` the first mule
        counts, and the second does not.
        """
        if self._opening is not None:
            seen = self._done.options
            self._block = open_block(self._opening, seen, self._surroundings)
            self._last = self._block
        if self._block is None:
            raise AssertionError("no block is open")
        return self._block

    def _include(self, option: Option) -> None:
        if option.name == "inherit" and option not in self._inherited:
            self._inherited.append(option)
            return
        try:
            name, options = self._read(option)
        except ConfigError as exc:
            self._done.options.append(replace(option, doubt=str(exc)))
            return
        self._take_included(name, options)

    def _read(self, option: Option) -> tuple[str, list[Option]]:
        name = self._name_of(option)
        if name in self._reading:
            raise ConfigError(f"{name}: includes itself")
        if len(self._reading) >= _MAX_DEPTH:
            raise ConfigError(f"{name}: is included more than {_MAX_DEPTH} files deep")
        form = INCLUDES[option.name]
        options = read_file(name, self._surroundings, form=form, first=self._magic)
        return name, options

    def _name_of(self, option: Option) -> str:
        """Return which file is meant; if not in the current directory, then beside."""
        name = option.value
        if option.name == "ini" and name.startswith(":"):
            return self._last_ini + name
        beside = str(PurePath(option.origin.source).parent / name)
        path, _ = split_section(name, self._surroundings)
        other, _ = split_section(beside, self._surroundings)
        is_beside = not self._surroundings.is_there(path)
        return beside if is_beside and self._surroundings.is_there(other) else name

    def _take_included(self, name: str, options: list[Option]) -> None:
        path, _ = split_section(name, self._surroundings)
        if path.endswith(".ini"):
            self._last_ini = path
        outer = self._block, self._last, self._opening
        self._block = self._last = self._opening = None
        self._reading.append(name)
        self.take(options)
        self._reading.pop()
        self._block, self._last, self._opening = outer
