"""What stat(2) says of the paths that are monitored; blocks, so never on the loop."""

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pymule.sansio.watch import Interest, Monitor, Node, NodeKind, Scan, follow

__all__ = ("Look", "look_at")

_MISSING: Final = Node(NodeKind.MISSING)


@dataclass(slots=True)
class Look:
    """What is there, at one time.

    Args:
        scans: By the key of the monitor.
        interest: Whom an event concerns.
        watched: The directories that show each change, with what tells them apart.
    """

    scans: dict[str, tuple[Monitor, Scan]]
    interest: Interest
    watched: dict[str, tuple[int, int]]


def look_at(monitors: list[Monitor]) -> Look:
    """Follow the path of each monitor, and read what it leads to."""
    nodes: dict[str, Node] = {"/": _node("/")}
    # More than one may ask for the same.
    scans: dict[tuple[str, str | None, bool], tuple[Scan, dict[str, Node]]] = {}
    watched: dict[str, tuple[int, int]] = {}
    reals: list[tuple[Monitor, str | None]] = []
    look: dict[str, tuple[Monitor, Scan]] = {}
    for monitor in monitors:
        while (trail := follow(monitor.path, nodes)).question:
            nodes[trail.question] = _node(trail.question)
        what = (monitor.path, trail.real, monitor.is_recursive)
        if what not in scans:
            scans[what] = _scan(*what)
        scan, below = scans[what]
        look[monitor.key] = (monitor, scan)
        reals.append((monitor, trail.real))
        watched |= {path: nodes[path].identity for path in trail.directories}
        watched |= {path: node.identity for path, node in below.items()}
    return Look(look, Interest(reals), watched)


def _node(path: str) -> Node:
    try:
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode):
            return Node(NodeKind.LINK, str(Path(path).readlink()))
    except (OSError, ValueError):
        return _MISSING
    if stat.S_ISDIR(status.st_mode):
        return _directory(status)
    return Node(NodeKind.FILE)


def _directory(status: os.stat_result) -> Node:
    return Node(NodeKind.DIRECTORY, identity=(status.st_dev, status.st_ino))


def _scan(
    path: str,
    real: str | None,
    is_recursive: bool,  # noqa: FBT001  (of a key)
) -> tuple[Scan, dict[str, Node]]:
    """Return what is at a path, and the directories below it that are to be watched."""
    scan, below = Scan(), dict[str, Node]()
    signature = 0
    with contextlib.suppress(OSError, ValueError):
        signature = _signature(os.lstat(path), is_root=True)
        if real is not None:
            signature = hash((signature, _signature(os.lstat(real), is_root=True)))
    if signature:
        scan.add("", signature)
    if real is not None:
        _scan_below(scan, below, real, is_recursive=is_recursive)
    return scan, below


def _scan_below(
    scan: Scan, below: dict[str, Node], real: str, *, is_recursive: bool
) -> None:
    root = len(real.rstrip("/"))
    todo = [real]
    while todo:
        for entry in _entries(todo.pop()):
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            scan.add(entry.path[root:], _signature(status))
            if is_recursive and stat.S_ISDIR(status.st_mode):
                below[entry.path] = _directory(status)
                todo.append(entry.path)


def _entries(directory: str) -> Iterator["os.DirEntry[str]"]:
    # No directory, gone, or not ours to read.
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        yield from entries


def _signature(status: os.stat_result, *, is_root: bool = False) -> int:
    """Return a number that a change changes; reading does not.

    The times of a directory tell only what its entries tell.
    """
    what = (status.st_dev, status.st_ino, status.st_mode)
    if stat.S_ISDIR(status.st_mode) and not is_root:
        return hash(what)
    return hash((*what, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
