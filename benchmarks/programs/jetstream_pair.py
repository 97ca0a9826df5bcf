"""JetStream's sender and its receiver, in two processes, with its own client."""

import asyncio
import importlib
import json
import os
import sys
from pathlib import Path
from time import monotonic, perf_counter, process_time
from typing import Any, Final

import uvloop

from benchmarks.notes import COUNT, FOLDER, PAYLOAD, WARM_UP, note, wait_for

__all__ = ("flood", "receive", "turns")

_SUBJECT: Final = "bench"
_BATCH: Final = 500
_WITHIN_S: Final = 60.0


async def flood() -> None:
    """Publish as fast as it goes; as many as its client allows are unacknowledged."""
    stream = await _stream()
    await _publish(stream, WARM_UP)
    await asyncio.to_thread(wait_for, "go")
    cpu, start = process_time(), monotonic()
    await _publish(stream, int(os.environ[COUNT]))
    note("sent", start=start, at=monotonic(), cpu_s=process_time() - cpu)


async def turns() -> None:
    """Publish one, wait for its acknowledgement, publish the next."""
    stream = await _stream()
    await _publish(stream, WARM_UP)
    await asyncio.to_thread(wait_for, "go")
    times = []
    for _ in range(int(os.environ[COUNT])):
        start = perf_counter()
        await stream.publish(_SUBJECT, PAYLOAD)
        times.append(perf_counter() - start)
    note("measured", times=times)


async def receive() -> None:
    """Pull batches, and acknowledge each message once it is handled."""
    stream = await _stream()
    await stream.add_stream(
        name=_SUBJECT, subjects=[_SUBJECT], storage="file", retention="workqueue"
    )
    config = importlib.import_module("nats.js.api").ConsumerConfig(
        ack_policy="explicit", max_ack_pending=10 * _BATCH
    )
    pull = await stream.pull_subscribe(_SUBJECT, durable="mule", config=config)
    note("subscribed")
    await _get(pull, WARM_UP)
    note("warm")
    cpu = process_time()
    size = await _get(pull, int(os.environ[COUNT]))
    note("received", at=monotonic(), size=size, cpu_s=process_time() - cpu)
    await asyncio.Event().wait()


# ``Any``: the client is there only when the extra ``bench`` is.
async def _stream() -> Any:
    client = await importlib.import_module("nats").connect(_address())
    return client.jetstream()


def _address() -> str:
    ports = next(Path(os.environ[FOLDER]).glob("nats-server_*.ports"))
    return str(json.loads(ports.read_text())["nats"][0])


async def _publish(stream: Any, number: int) -> None:
    futures = [await stream.publish_async(_SUBJECT, PAYLOAD) for _ in range(number)]
    await asyncio.gather(*futures)


async def _get(pull: Any, number: int) -> int:
    size = 0
    while number:
        messages = await pull.fetch(min(_BATCH, number), timeout=_WITHIN_S)
        for message in messages:
            size += len(message.data)
            await message.ack()
        number -= len(messages)
    return size


if __name__ == "__main__":
    uvloop.run({"flood": flood, "turns": turns, "receive": receive}[sys.argv[1]]())
