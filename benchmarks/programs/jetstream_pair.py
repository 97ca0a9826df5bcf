"""JetStream's sender and its receiver, in two processes, with its own client.

``python -m benchmarks.programs.jetstream_pair ROLE ADDRESS [RETENTION]``.
"""

import asyncio
import importlib
import json
import os
import sys
from time import monotonic, perf_counter, process_time
from typing import Any, Final

import uvloop

from benchmarks.notes import COUNT, PAYLOAD, WARM_UP, note, wait_for

__all__ = ("flood", "flood_batches", "receive", "turns")

_SUBJECT: Final = "bench"
_BATCH: Final = 500
# The most that the server takes in one.
_ATOMIC: Final = 1000
_WITHIN_S: Final = 60.0


async def flood() -> None:
    """Publish as fast as it goes; as many as its client allows are unacknowledged."""
    stream = (await _connect()).jetstream()
    await _publish(stream, WARM_UP)
    await asyncio.to_thread(wait_for, "go")
    cpu, start = process_time(), monotonic()
    await _publish(stream, int(os.environ[COUNT]))
    note("sent", start=start, at=monotonic(), cpu_s=process_time() - cpu)


async def flood_batches() -> None:
    """Publish atomic batches; the next one is under way while one is committed.

    The server syncs once for all of a batch. The client has no function for them, but
    headers are all that they are.
    """
    client = await _connect()
    await _publish(client.jetstream(), WARM_UP)
    await asyncio.to_thread(wait_for, "go")
    cpu, start = process_time(), monotonic()
    await _publish_batches(client, int(os.environ[COUNT]))
    note("sent", start=start, at=monotonic(), cpu_s=process_time() - cpu)


async def turns() -> None:
    """Publish one, wait for its acknowledgement, publish the next."""
    stream = (await _connect()).jetstream()
    await _publish(stream, WARM_UP)
    await asyncio.to_thread(wait_for, "go")
    times = []
    for _ in range(int(os.environ[COUNT])):
        start = perf_counter()
        await stream.publish(_SUBJECT, PAYLOAD)
        times.append(perf_counter() - start)
    note("measured", times=times)


async def receive(retention: str) -> None:
    """Pull batches, and acknowledge each message once it is handled."""
    stream = (await _connect()).jetstream()
    await stream.add_stream(
        name=_SUBJECT,
        subjects=[_SUBJECT],
        storage="file",
        retention=retention,
        allow_atomic=True,
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
async def _connect() -> Any:
    return await importlib.import_module("nats").connect(sys.argv[2])


async def _publish(stream: Any, number: int) -> None:
    futures = [await stream.publish_async(_SUBJECT, PAYLOAD) for _ in range(number)]
    await asyncio.gather(*futures)


async def _publish_batches(client: Any, number: int) -> None:
    async with asyncio.TaskGroup() as commits:
        committing: asyncio.Task[None] | None = None
        for start in range(0, number, _ATOMIC):
            size = min(_ATOMIC, number - start)
            headers = {"Nats-Batch-Id": str(start)}
            for at in range(1, size):
                headers["Nats-Batch-Sequence"] = str(at)
                await client.publish(_SUBJECT, PAYLOAD, headers=headers)
            headers |= {"Nats-Batch-Sequence": str(size), "Nats-Batch-Commit": "1"}
            if committing is not None:
                await committing
            committing = commits.create_task(_commit(client, headers))


async def _commit(client: Any, headers: dict[str, str]) -> None:
    answer = await client.request(_SUBJECT, PAYLOAD, headers=headers, timeout=_WITHIN_S)
    assert "error" not in json.loads(answer.data), answer.data


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
    senders = {"flood": flood, "flood_batches": flood_batches, "turns": turns}
    role = sys.argv[1]
    uvloop.run(receive(sys.argv[3]) if role == "receive" else senders[role]())
