"""beanstalkd's sender and its receiver, in two processes, over its Unix socket.

Its protocol answers commands in the order in which they came, so several may be under
way; both sides use that, because one command and one answer at a time is far slower.
"""

import os
import socket
import sys
from time import monotonic, perf_counter, process_time
from typing import Final

from benchmarks.notes import COUNT, PAYLOAD, WARM_UP, note, wait_for

__all__ = ("flood", "receive", "turns")

# Priority, delay, seconds to handle it.
_PUT: Final = b"put 1024 0 600 %d\r\n%b\r\n" % (len(PAYLOAD), PAYLOAD)
_RESERVE: Final = b"reserve\r\n"
_RESERVE_IF_ANY: Final = b"reserve-with-timeout 0\r\n"
# More answers than some 270 that nobody reads block the server, and then both.
_UNDER_WAY: Final = 100


class _Line:
    """A connection; answers are read by line."""

    def __init__(self) -> None:
        line = socket.socket(socket.AF_UNIX)
        line.connect(os.environ["PYMULE_SOCKET"])
        self.send = line.sendall
        self.answers = line.makefile("rb")

    def expect_inserted(self, count: int) -> None:
        for _ in range(count):
            answer = self.answers.readline()
            assert answer.startswith(b"INSERTED "), answer


def flood() -> None:
    """Put as fast as it goes: the next puts are under way while answers are read."""
    number = int(os.environ[COUNT])
    line = _Line()
    _put(line, WARM_UP)
    wait_for("go")
    cpu, start = process_time(), monotonic()
    _put(line, number)
    note("sent", start=start, at=monotonic(), cpu_s=process_time() - cpu)


def turns() -> None:
    """Put one, wait until it is inserted, put the next."""
    line = _Line()
    _put(line, WARM_UP)
    wait_for("go")
    times = []
    for _ in range(int(os.environ[COUNT])):
        start = perf_counter()
        line.send(_PUT)
        line.expect_inserted(1)
        times.append(perf_counter() - start)
    note("measured", times=times)


def receive() -> None:
    """Reserve what is there, handle it, delete it with the next reserves."""
    number, size = int(os.environ[COUNT]), 0
    line = _Line()
    done = _get(line, WARM_UP, [])[1]
    note("warm")
    cpu = process_time()
    size, done = _get(line, number, done)
    note("received", at=monotonic(), size=size, cpu_s=process_time() - cpu)
    line.send(b"".join(done))


def _put(line: _Line, number: int) -> None:
    unanswered = 0
    while number:
        count = min(_UNDER_WAY, number)
        line.send(_PUT * count)
        line.expect_inserted(unanswered)
        unanswered = count
        number -= count
    line.expect_inserted(unanswered)


def _get(line: _Line, number: int, done: list[bytes]) -> tuple[int, list[bytes]]:
    """Get so many; return their bytes, and the deletes that are to be sent."""
    size, is_dry = 0, False
    readline, read = line.answers.readline, line.answers.read
    while number:
        count = 1 if is_dry else min(_UNDER_WAY, number)
        reserve = _RESERVE if is_dry else _RESERVE_IF_ANY
        line.send(b"".join(done) + reserve * count)
        for _ in done:
            answer = readline()
            assert answer == b"DELETED\r\n", answer
        done = []
        for _ in range(count):
            answer = readline()
            if answer == b"TIMED_OUT\r\n":
                continue
            word, message, length = answer.split()
            assert word == b"RESERVED", answer
            size += len(read(int(length) + 2)) - 2
            done.append(b"delete %b\r\n" % message)
        number -= len(done)
        is_dry = not done
    return size, done


if __name__ == "__main__":
    {"flood": flood, "turns": turns, "receive": receive}[sys.argv[1]]()
