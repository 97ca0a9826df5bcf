"""Talk to the daemon from a command: a client, a limit in time, an exit status."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import typer

from pymule.cli.entry import complain
from pymule.cli.exits import ExitCode, exit_code_of
from pymule.client.aio import Client
from pymule.errors import PymuleError

__all__ = ("ask",)

T = TypeVar("T")


def ask(
    work: Callable[[Client], Awaitable[T]],
    *,
    socket: Path | None,
    timeout: float | None,
) -> T:
    """Connect to the daemon and return what *work* with the client returns.

    Args:
        work: Is cancelled when time is over.
        socket: As for :class:`~pymule.client.aio.Client`.
        timeout: In seconds; ``None`` is without end.

    Raises:
        typer.Exit: It failed; the reason was said, and the status tells its kind.
    """
    try:
        return asyncio.run(_ask(work, socket, timeout))
    except TimeoutError:
        limit = "" if timeout is None else f" within {timeout:g} seconds"
        complain(f"no answer from pymuled{limit}")
        raise typer.Exit(ExitCode.TIMEOUT) from None
    except (PymuleError, OSError) as exc:
        complain(_sentence(exc))
        raise typer.Exit(exit_code_of(exc)) from None
    except KeyboardInterrupt:
        raise typer.Exit(ExitCode.INTERRUPTED) from None


async def _ask(
    work: Callable[[Client], Awaitable[T]], socket: Path | None, limit_s: float | None
) -> T:
    async with asyncio.timeout(limit_s), Client(socket, name="pymule") as client:
        return await work(client)


def _sentence(error: BaseException) -> str:
    notes = getattr(error, "__notes__", ())
    return "; ".join([str(error), *notes])
