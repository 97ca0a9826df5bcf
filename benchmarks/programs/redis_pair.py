"""Sender and receiver of a Redis list, in two processes, with the blocking client.

``python -m benchmarks.programs.redis_pair ROLE SOCKET``: one message a time, or bulk.
"""

import importlib
import os
import sys
from collections.abc import Callable
from time import monotonic, process_time
from typing import Final

from benchmarks.notes import COUNT, PAYLOAD, WARM_UP, note, wait_for

__all__ = ("receive", "receive_bulk", "send", "send_bulk")

_LIST: Final = "bench"
_PUSHED: Final = 1000
_POPPED: Final = 100
# Exists only where the extra ``bench`` is.
_REDIS: Final = importlib.import_module("redis").Redis(unix_socket_path=sys.argv[2])


def send(number: int) -> None:
    """Push one after the other."""
    for _ in range(number):
        _REDIS.lpush(_LIST, PAYLOAD)


def send_bulk(number: int) -> None:
    """Push a thousand at once."""
    for at in range(0, number, _PUSHED):
        _REDIS.lpush(_LIST, *[PAYLOAD] * min(_PUSHED, number - at))


def receive(number: int) -> int:
    """Pop one after the other; return their bytes."""
    size = 0
    for _ in range(number):
        size += len(_REDIS.brpop(_LIST)[1])
    return size


def receive_bulk(number: int) -> int:
    """Pop up to a hundred at once; return their bytes."""
    size = 0
    while number:
        count = min(_POPPED, number)
        found = _REDIS.blmpop(0, 1, _LIST, direction="RIGHT", count=count)[1]
        for message in found:
            size += len(message)
        number -= len(found)
    return size


def _play_sender(send: Callable[[int], None]) -> None:
    send(WARM_UP)
    wait_for("go")
    cpu, start = process_time(), monotonic()
    send(int(os.environ[COUNT]))
    note("sent", start=start, at=monotonic(), cpu_s=process_time() - cpu)


def _play_receiver(receive: Callable[[int], int]) -> None:
    receive(WARM_UP)
    note("warm")
    cpu = process_time()
    size = receive(int(os.environ[COUNT]))
    note("received", at=monotonic(), size=size, cpu_s=process_time() - cpu)


if __name__ == "__main__":
    senders = {"send": send, "send_bulk": send_bulk}
    receivers = {"receive": receive, "receive_bulk": receive_bulk}
    if (role := sys.argv[1]) in senders:
        _play_sender(senders[role])
    else:
        _play_receiver(receivers[role])
