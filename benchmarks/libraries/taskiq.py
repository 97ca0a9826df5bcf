"""taskiq: an asyncio library, on a Redis stream, with acknowledgements."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from taskiq_redis import RedisStreamBroker

from benchmarks.libraries.lines import BUSY, Line, redis_url
from benchmarks.programs.job import work_async

__all__ = ("broker", "line")

_CONNECTIONS: Final = 50

broker = RedisStreamBroker(redis_url(), queue_name=BUSY)
broker.register_task(work_async, task_name="work")


@asynccontextmanager
async def line(queue: str) -> AsyncIterator[Line]:
    """Open a queue."""
    # Without a limit a thousand tasks at once open a thousand connections.
    ours = RedisStreamBroker(
        redis_url(), queue_name=queue, max_connection_pool_size=_CONNECTIONS
    )
    task = ours.register_task(work_async, task_name="work")
    await ours.startup()
    try:
        yield Line(lambda job: task.kiq(*job), is_gathered=False)
    finally:
        await ours.shutdown()
