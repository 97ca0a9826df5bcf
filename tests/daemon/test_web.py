"""A web application under uvicorn, two workers, hands its work to a farm."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.conftest import MS
from tests.daemon.harness import LONG, Daemon

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60_000 * MS)]

APP = """
import os
import pymule
from fastapi import FastAPI

app = FastAPI()

@app.post("/orders/{number}")
async def order(number: int) -> dict[str, int]:
    return {"id": await pymule.farm_msg("orders", f"{number}"), "pid": os.getpid()}
"""

ECHO = """
import pymule

async def main():
    while True:
        note("did", (await pymule.farm_get_msg("orders")).decode())
"""


@contextmanager
def uvicorn(daemon: Daemon, listener: socket.socket) -> Iterator[None]:
    """Serve the application on *listener* with two workers."""
    words = ["web:app", "--fd", str(listener.fileno()), "--workers", "2", "--app-dir"]
    words += [str(daemon.directory), "--log-level", "warning"]
    environ = {**daemon.environ, "PYMULE_SOCKET": str(daemon.socket)}
    with subprocess.Popen(  # noqa: S603  (our own interpreter, no shell)
        [sys.executable, "-m", "uvicorn", *words],
        env=environ,
        pass_fds=[listener.fileno()],
        process_group=0,
    ) as process:
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(LONG)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


async def test_what_an_endpoint_sends_is_handled_once(daemon: Daemon) -> None:
    daemon.program("web", APP)
    daemon.program("work", ECHO)
    daemon.configure("""
        [[mule]]
        program = "work:main"
        count = 2
        [[farm]]
        name = "orders"
        mules = [1, 2]
    """)
    await daemon.start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/orders"
        with uvicorn(daemon, listener):
            async with httpx.AsyncClient(timeout=LONG) as web:
                answers = await asyncio.gather(
                    *(web.post(f"{url}/{number}") for number in range(200))
                )
    ids = {answer.json()["id"] for answer in answers}

    assert {answer.status_code for answer in answers} == {200}
    assert len(ids) == 200
    await daemon.noted("did", count=200)
    did = Counter(words[1] for words in daemon.notes())
    assert did == {str(number): 1 for number in range(200)}
    assert await daemon.stop() == 0
