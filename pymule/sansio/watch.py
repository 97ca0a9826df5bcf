"""Which directories to watch for a path, and what of what happened there concerns it.

A path is followed name by name. Each directory on the way is watched, so a name that
is created, replaced or pointed elsewhere is noticed wherever it stands, also when
nothing of the path is there yet. Only above a mount point nothing is: it cannot be
renamed, and ``/`` and ``/dev`` are busy places.

What is there is told by *nodes* and *scans*, which the shell makes from stat(2). What
changed is the union of two answers: the difference of two scans, which misses nothing
that lasts, and the events of the kernel, which name what did not last.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

__all__ = (
    "MAX_ENTRIES",
    "MAX_PATHS",
    "Changes",
    "Interest",
    "Monitor",
    "Node",
    "NodeKind",
    "Scan",
    "Trail",
    "advice",
    "compare",
    "follow",
    "is_missed",
    "is_stale",
    "report",
)

MAX_PATHS: Final = 10_000
"""Paths that one report names."""

MAX_ENTRIES: Final = 100_000
"""Entries that a scan keeps; of a larger tree it only knows whether it changed."""

# As the kernel: more links on the way to a file are taken for a loop.
_MAX_LINKS: Final = 40
_FOLD: Final = 2**64

_ADDED: Final = 1
_DELETED: Final = 3


class NodeKind(Enum):
    """What a name stands for."""

    MISSING = "missing"
    FILE = "file"
    DIRECTORY = "directory"
    LINK = "link"


@dataclass(frozen=True, slots=True)
class Node:
    """What stands at a path, links not followed.

    Args:
        kind: What it is.
        target: Where a link points.
        identity: Tells a directory from another at the same path; its device first.
    """

    kind: NodeKind
    target: str = ""
    identity: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Monitor:
    """One path that somebody wants to know about, absolute."""

    key: str
    path: str
    is_recursive: bool


@dataclass(frozen=True, slots=True)
class Trail:
    """How far a path leads.

    Args:
        directories: Those to be watched: on the way, and what it leads to.
        real: What it leads to, without links; ``None`` if nothing is there.
        question: The path whose node must be known to go on; ``""`` at the end.
    """

    directories: tuple[str, ...]
    real: str | None = None
    question: str = ""


def follow(path: str, nodes: Mapping[str, Node]) -> Trail:
    """Follow an absolute *path* as far as *nodes* are known."""
    here = "/"
    directories: dict[str, None] = {}
    names = _reversed_names(path)
    links = 0
    while names:
        name = names.pop()
        if name == "..":
            here = _parent(here)
            continue
        spot = _join(here, name)
        node = nodes.get(spot)
        if node is None:
            return Trail(tuple(directories), question=spot)
        if not _is_mounted(here, node, nodes):
            directories[here] = None
        match node.kind:
            case NodeKind.DIRECTORY:
                here = spot
            case NodeKind.LINK if links < _MAX_LINKS:
                links += 1
                here = "/" if node.target.startswith("/") else here
                names += _reversed_names(node.target)
            case NodeKind.FILE if not names:
                return Trail(tuple(directories), spot)
            case _:
                return Trail(tuple(directories))
    directories[here] = None
    return Trail(tuple(directories), here)


def _is_mounted(directory: str, node: Node, nodes: Mapping[str, Node]) -> bool:
    """Whether *node* can neither go nor be replaced, so that nobody need watch."""
    above = nodes.get(directory, node)
    return node.kind is NodeKind.DIRECTORY and node.identity[0] != above.identity[0]


def _reversed_names(path: str) -> list[str]:
    return [name for name in reversed(path.split("/")) if name not in ("", ".")]


def _parent(path: str) -> str:
    return path.rpartition("/")[0] or "/"


def _join(directory: str, name: str) -> str:
    return f"{directory.rstrip('/')}/{name}"


@dataclass(slots=True)
class Scan:
    """What a path held: a signature for it and for each entry below it.

    An entry is what follows the path: ``""`` is the path itself, ``"/a"`` a child.
    """

    limit: int = MAX_ENTRIES
    entries: dict[str, int] = field(default_factory=dict)
    is_whole: bool = True
    fold: int = 0

    def add(self, entry: str, signature: int) -> None:
        """Note an entry, once."""
        # Independent of the order, which no file system promises.
        self.fold = (self.fold + hash((hash(signature), len(entry)))) % _FOLD
        if not self.is_whole:
            return
        self.entries[entry] = signature
        if len(self.entries) > self.limit:
            self.is_whole = False
            self.entries = {}


@dataclass(slots=True)
class Changes:
    """The entries of a path that changed; not complete if others may have."""

    entries: set[str] = field(default_factory=set)
    is_complete: bool = True


def compare(before: Scan, after: Scan) -> Changes:
    """Return what changed between two scans."""
    if not (before.is_whole and after.is_whole):
        if before.is_whole == after.is_whole and before.fold == after.fold:
            return Changes()
        return Changes({""}, is_complete=False)
    changed = {entry for entry, _ in before.entries.items() ^ after.entries.items()}
    return Changes(changed)


class Interest:
    """Whom an event concerns.

    Args:
        reals: What each monitor leads to, if it leads anywhere.
    """

    def __init__(self, reals: Iterable[tuple[Monitor, str | None]]) -> None:
        self._monitors: dict[str, list[Monitor]] = {}
        for monitor, real in reals:
            if real is not None:
                self._monitors.setdefault(real, []).append(monitor)

    def concerned(self, path: str) -> list[tuple[Monitor, str]]:
        """Return the monitors that an event at *path* concerns, each with its entry."""
        found = [(monitor, "") for monitor in self._monitors.get(path, ())]
        above = path
        while above != "/":
            is_child = above == path
            above = _parent(above)
            entry = path[len(above.rstrip("/")) :]
            found += [
                (monitor, entry)
                for monitor in self._monitors.get(above, ())
                if is_child or monitor.is_recursive
            ]
        return found


def is_stale(events: Iterable[tuple[int, str]], watched: Mapping[str, object]) -> bool:
    """Whether a directory that is watched went, or came back as another.

    Its number may be the same, so that only the events tell.
    """
    return any(kind in (_ADDED, _DELETED) and path in watched for kind, path in events)


def is_missed(changes: Changes, told: Collection[str]) -> bool:
    """Whether events have *told* less than changed: a watch may be dead.

    The event that would say that it died may be lost as well.
    """
    missed = changes.entries.difference(told)
    # A directory changes with its children, and only they are told.
    return bool(missed - {""} if told else missed)


def report(
    path: str, changes: Changes, limit: int = MAX_PATHS
) -> tuple[list[str], bool]:
    """Return the paths that changed, and whether these are all."""
    entries = changes.entries
    # A directory changes with its children; that says nothing more than they do.
    if len(entries) > 1:
        entries = entries - {""}
    paths = sorted(path.rstrip("/") + entry if entry else path for entry in entries)
    return paths[:limit], changes.is_complete and len(paths) <= limit


def advice(error: str) -> tuple[str, str]:
    """Return the limit that *error* is about, and how to raise it."""
    text = error.lower()
    if "watch limit" in text or "os error 28" in text or "no space" in text:
        limit = "fs.inotify.max_user_watches"
        return limit, f"sysctl -w {limit}=1048576"
    if "os error 24" in text or "too many open files" in text:
        limit = "fs.inotify.max_user_instances"
        return (
            f"{limit} or open files",
            f"sysctl -w {limit}=1024, or LimitNOFILE= of the service",
        )
    return "unknown", "act on the error"
