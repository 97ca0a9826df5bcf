"""What the master and a forkserver say to each other.

One word is one datagram, a JSON object with the key ``word``, on the SOCK_SEQPACKET
socketpair that a forkserver inherits::

    master                                        forkserver

    preload: python_path, modules, uwsgi  ------>  imports them
                        <------  loaded | unfit: reasons | broken: error
    fork: number, mule; five descriptors  ------>  forks
                        <------  forked: number, pid | not_forked: number, error

The descriptors are the mule's ends of its link, board and stacks, and its stdout and
stderr, in this order. ``mule`` is what a mule that is spawned finds in its environment,
without the numbers of descriptors. A forkserver that is ``unfit`` to fork, or could not
import, ends; so does one whose master closes the socket.
"""

import json
from dataclasses import asdict, dataclass
from typing import Final, TypeGuard

from pymule.errors import RemoteProtocolError
from pymule.sansio.verbs import JsonObject

__all__ = (
    "DESCRIPTORS",
    "MAX_WORD_BYTES",
    "Broken",
    "Fork",
    "Forked",
    "Loaded",
    "NotForked",
    "Preload",
    "Unfit",
    "Word",
    "read_word",
    "write_word",
)

DESCRIPTORS: Final = ("link", "board", "stacks", "stdout", "stderr")
"""What comes with ``fork``."""

MAX_WORD_BYTES: Final = 256 * 1024
"""No word is longer: a socket of the usual size does not take more in one piece."""


@dataclass(frozen=True, slots=True)
class Preload:
    """Import *modules*, found in *python_path* before all other places."""

    python_path: list[str]
    modules: list[str]
    uwsgi: bool


@dataclass(frozen=True, slots=True)
class Loaded:
    """All is imported; mules can be forked."""


@dataclass(frozen=True, slots=True)
class Unfit:
    """All is imported, and what it started would not survive a fork."""

    reasons: list[str]


@dataclass(frozen=True, slots=True)
class Broken:
    """An import raised *error*: type, text, traceback."""

    error: JsonObject


@dataclass(frozen=True, slots=True)
class Fork:
    """Fork *mule*; *number* comes back in the answer."""

    number: int
    mule: JsonObject


@dataclass(frozen=True, slots=True)
class Forked:
    """It is process *pid*, and a child of the master by now."""

    number: int
    pid: int


@dataclass(frozen=True, slots=True)
class NotForked:
    """The system said no."""

    number: int
    error: str


Word = Preload | Loaded | Unfit | Broken | Fork | Forked | NotForked

_NAMES: Final[dict[type[Word], str]] = {
    Preload: "preload",
    Loaded: "loaded",
    Unfit: "unfit",
    Broken: "broken",
    Fork: "fork",
    Forked: "forked",
    NotForked: "not_forked",
}


def write_word(word: Word) -> bytes:
    """Return the datagram that says *word*."""
    return json.dumps({"word": _NAMES[type(word)], **asdict(word)}).encode()


def read_word(data: bytes) -> Word:
    """Return what the datagram *data* says.

    Raises:
        RemoteProtocolError: It says nothing that is known.
    """
    try:
        found: object = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    word = _read_words(found)
    if word is None:
        raise RemoteProtocolError(
            f"found {data[:80]!r}; allowed: a word of forkservers"
        )
    return word


def _read_words(found: object) -> Word | None:  # noqa: PLR0911  (one for each word)
    match found:
        case {"word": "preload", "python_path": path, "modules": modules, "uwsgi": has}:
            if _are_texts(path) and _are_texts(modules):
                return Preload(path, modules, has is True)
        case {"word": "loaded"}:
            return Loaded()
        case {"word": "unfit", "reasons": reasons} if _are_texts(reasons):
            return Unfit(reasons)
        case {"word": "broken", "error": dict(error)}:
            return Broken(error)
        case {"word": "fork", "number": int(number), "mule": dict(mule)}:
            return Fork(number, mule)
        case {"word": "forked", "number": int(number), "pid": int(pid)} if pid > 0:
            return Forked(number, pid)
        case {"word": "not_forked", "number": int(number), "error": str(error)}:
            return NotForked(number, error)
        case _:
            return None
    return None


def _are_texts(found: object) -> TypeGuard[list[str]]:
    return isinstance(found, list) and all(isinstance(item, str) for item in found)
