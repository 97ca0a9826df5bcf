"""uWSGI's loops and conditions: how often each option inside of one counts.

A block is repeated per option and not as a whole. It has *turns*: what ``%(_)`` is each
time, so a condition that does not hold has none. uWSGI has no blocks in blocks.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from pymule.convert.option import Option
from pymule.convert.surroundings import Surroundings

__all__ = ("CLOSING", "OPENING", "Block", "open_block", "open_else")

CLOSING: Final = frozenset({"end", "endfor", "endif", "end-if", "end-for"})
_LOOPS: Final = frozenset({"for", "for-glob", "for-times", "for-readline"})
_CONDITIONS: Final = frozenset(
    {"env", "opt", "exists", "file", "dir", "reload", "hostname", "hostname-match"}
    | {"plugin"}
)
_OLD: Final = {
    "ifenv": "if-env",
    "ifexists": "if-exists",
    "ifdir": "if-dir",
    "if-directory": "if-dir",
    "ifplugin": "if-plugin",
}
OPENING: Final = (
    _LOOPS
    | {f"if-{word}" for word in _CONDITIONS}
    | {f"if-not-{word}" for word in _CONDITIONS}
    | _OLD.keys()
)
"""Options that open a block; ``else`` is for its like to find out."""

_MAX_TURNS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Block:
    """The options between a line that opens and one that closes.

    Args:
        turns: What ``%(_)`` stands for, each time that an option counts; ``None``
            leaves it as it is.
        condition: Why the options do not count for certain; they come once all the
            same.
        verdict: What a reader of the converted file should know; may be empty.
        subject: What it is a condition of, in words; empty if the same everywhere.
        is_known: It was decided.
    """

    turns: tuple[str | None, ...]
    condition: str = ""
    verdict: str = ""
    subject: str = ""
    is_known: bool = True

    def apply(self, option: Option) -> list[Option]:
        """Return what *option* inside of the block comes to."""
        if self.condition:
            return [replace(option, condition=self.condition)]
        return [
            option
            if turn is None
            else replace(option, value=option.value.replace("%(_)", turn))
            for turn in self.turns
        ]


def open_block(
    option: Option, seen: Sequence[Option], surroundings: Surroundings
) -> Block:
    """Return the block that *option* opens.

    Args:
        option: Its name is in :data:`OPENING`.
        seen: The options before it.
        surroundings: What conditions are about.
    """
    name = _OLD.get(option.name, option.name)
    if name in _LOOPS:
        return _loop(name, option.value, surroundings)
    negated = name.removeprefix("if-")
    word = negated.removeprefix("not-")
    found = _found(word, option.value, seen, surroundings)
    subject = option.text.removeprefix("if").removeprefix("-")
    if found is None:
        return _unknown("if", subject)
    context, holds = found
    is_met = holds != (word != negated)
    turns = (context or None,) if is_met else ()
    if word in {"opt", "reload"}:
        return Block(turns)
    if is_met:
        return Block(turns, verdict="holds here", subject=subject)
    condition = f"counts only if {subject}; that does not hold here"
    return Block((), condition, "does not hold here", subject)


def open_else(block: Block | None) -> Block:
    """Return the block after ``else``, when the one before it was *block*."""
    if block is None or (block.is_known and not block.turns):
        return Block((None,))
    if not block.is_known:
        return _unknown("unless", block.subject)
    if not block.subject:
        return Block(())
    return Block((), f"counts only unless {block.subject}; that holds here")


def _unknown(word: str, subject: str) -> Block:
    condition = f"counts only {word} {subject}; that is not known here"
    return Block((), condition, subject=subject, is_known=False)


def _loop(name: str, value: str, surroundings: Surroundings) -> Block:
    match name:
        case "for":
            turns = value.split()
        case "for-glob":
            turns = surroundings.matches(value) or [value]
        case "for-times" if re.fullmatch(r"[0-9]{1,5}", value):
            turns = [str(number) for number in range(1, int(value) + 1)]
        case _:
            return Block(
                (), condition=f"is repeated by {name} = {value}; not done here"
            )
    if len(turns) > _MAX_TURNS:
        return Block(
            (), condition=f"is repeated more than {_MAX_TURNS} times; not done here"
        )
    return Block(tuple(turns), verdict="" if name != "for-glob" else "files found here")


def _found(
    word: str, value: str, seen: Sequence[Option], surroundings: Surroundings
) -> tuple[str, bool] | None:
    """Return what ``%(_)`` is and whether the condition holds; ``None``: who knows."""
    match word:
        case "env" | "opt":
            name, equals, wanted = value.partition("=")
            given = (
                surroundings.variable(name)
                if word == "env"
                else next((other.value for other in seen if other.name == name), None)
            )
            is_there = given is not None and (not equals or given == wanted)
            return given or "", is_there
        case "exists":
            return value, surroundings.is_there(value)
        case "file":
            return value, surroundings.is_file(value)
        case "dir":
            return value, surroundings.is_directory(value)
        case "reload":
            return "", False
        case _:
            return None
