"""What is in a WAL that SQLite does not take.

A crash leaves the transactions of a WAL whole, or the last one without its end. SQLite
takes what is before the first frame whose checksum does not fit, and says nothing about
what is behind it. If there are ends of transactions behind it, those are lost: by a bit
that flipped, or by a power cut before an fsync, which may leave any order. Nothing can
tell the two apart, so it is no error, but it is said.

::

    header, 32 bytes    magic u32, version u32, page size u32, checkpoint u32,
                        salt 2 x u32, checksum 2 x u32
    frame header, 24    page u32, pages after a commit or 0 u32, salt 2 x u32,
                        checksum 2 x u32; then the page

A frame is written in two pieces. Where older frames are written over, a kill between
the two leaves a header that ends a transaction, and an older page: that is the last
frame, and its transaction was not whole.

Big-endian. The salt changes whenever the WAL begins anew. Source: SQLite's file format.
"""

import os
import struct
from pathlib import Path
from typing import Final

__all__ = ("commits_in",)

_HEADER: Final = struct.Struct(">IIII8sII")
_FRAME: Final = struct.Struct(">II8sII")
_PAGE: Final = 4096


def commits_in(path: Path) -> list[int]:
    """Return the numbers, from 1, of frames that end a transaction of this WAL.

    Those of earlier ones, which were not overwritten yet, are left out, and one whose
    page was not written any more; a file that is missing has none.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return []
    try:
        return _commits(fd)
    finally:
        os.close(fd)


def _commits(fd: int) -> list[int]:
    size = os.fstat(fd).st_size
    step = _FRAME.size + _PAGE
    salts: set[bytes] = set()
    commits = []
    last = 0
    if size >= _HEADER.size:
        *_, salt, _, _ = _HEADER.unpack(os.pread(fd, _HEADER.size, 0))
        salts.add(salt)
    for number, place in enumerate(range(_HEADER.size, size - step + 1, step), 1):
        _, pages, salt, _, _ = _FRAME.unpack(os.pread(fd, _FRAME.size, place))
        if number == 1 and not _is_before(salt, salts):
            # If the header is what was damaged, this is what its salt was.
            salts.add(salt)
        if salt in salts:
            last = number
            if pages:
                commits.append(number)
    if commits and commits[-1] == last and not _is_whole(fd, last):
        commits.pop()
    return commits


def _is_whole(fd: int, number: int) -> bool:
    """Tell whether the checksum of a frame fits, if that before it does."""
    step = _FRAME.size + _PAGE
    place = _HEADER.size + (number - 1) * step
    before = os.pread(fd, 8, place - step + 16 if number > 1 else _HEADER.size - 8)
    frame = os.pread(fd, step, place)
    told = struct.unpack(">II", frame[16:24])
    summed = frame[:8] + frame[_FRAME.size :]
    # The last bit of the header's magic says which; it may be what is wrong.
    return told in (_sum(before, summed, "<"), _sum(before, summed, ">"))


def _sum(before: bytes, data: bytes, order: str) -> tuple[int, int]:
    first, second = struct.unpack(">II", before)
    for one, other in struct.iter_unpack(f"{order}II", data):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return first, second


def _is_before(salt: bytes, salts: set[bytes]) -> bool:
    """Tell whether *salt* is of the WAL before: a new header has no frame yet."""
    after = (int.from_bytes(salt[:4]) + 1) % 2**32
    return any(int.from_bytes(known[:4]) == after for known in salts)
