"""``pymule queues`` and what can be done with one queue."""

import time
from pathlib import Path
from typing import Annotated, Final

import typer

from pymule.cli.consent import check_can_ask, confirm
from pymule.cli.daemon_options import JsonOption, SocketOption, TimeoutOption
from pymule.cli.entry import is_coloured, write, write_json

__all__ = ("COMMANDS", "QueueArgument", "counted")

QueueArgument = Annotated[
    str,
    typer.Argument(
        metavar="QUEUE",
        help="mule, muleN, farm:NAME or func:MODULE:NAME.",
        show_default=False,
    ),
]


def queues(
    *,
    is_json: JsonOption = False,
    socket: SocketOption = None,
    timeout: TimeoutOption = None,
) -> None:
    """Show the queues: what waits, what is with mules, what is dead."""
    from pymule.cli.asking import ask  # noqa: PLC0415  (not for --help)
    from pymule.cli.queue_text import render_queues  # noqa: PLC0415  (as above)
    from pymule.cli.table import rows_of  # noqa: PLC0415  (as above)
    from pymule.cli.whole import whole_status  # noqa: PLC0415  (as above)

    answer = ask(
        lambda client: whole_status(client, "queues"), socket=socket, timeout=timeout
    )
    rows = rows_of(answer, "queues")
    if is_json:
        write_json(rows)
    else:
        write(render_queues(rows, is_coloured=is_coloured()))


def peek(
    queue: QueueArgument,
    *,
    limit: Annotated[
        int, typer.Option("--limit", "-n", metavar="N", min=1, help="So many.")
    ] = 10,
    full: Annotated[
        bool, typer.Option("--full", help="Whole bodies, not their first 200 bytes.")
    ] = False,
    is_json: JsonOption = False,
    socket: SocketOption = None,
    timeout: TimeoutOption = None,
) -> None:
    """Show the next messages of a queue, and take none."""
    from pymule.cli.asking import ask  # noqa: PLC0415  (not for --help)
    from pymule.cli.letters import peeked  # noqa: PLC0415  (as above)
    from pymule.cli.queue_text import render_messages  # noqa: PLC0415  (as above)

    rows = ask(
        lambda client: peeked(client, queue, limit, is_full=full),
        socket=socket,
        timeout=timeout,
    )
    if is_json:
        write_json(rows)
    else:
        write(render_messages(rows, time.time()))


def purge(
    queue: QueueArgument,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    is_json: JsonOption = False,
    socket: SocketOption = None,
    timeout: TimeoutOption = None,
) -> None:
    """Drop what waits in a queue; mules keep what they have."""
    if not yes:
        check_can_ask("purges the queue")
    from pymule.cli.asking import ask  # noqa: PLC0415  (not for --help)
    from pymule.cli.letters import purge_all, waiting_in  # noqa: PLC0415  (as above)

    count = ask(
        lambda client: waiting_in(client, queue), socket=socket, timeout=timeout
    )
    if not yes:
        confirm(f"purge {counted(count, 'message')} of {queue}?")
    purged = ask(
        lambda client: purge_all(client, queue, count), socket=socket, timeout=timeout
    )
    if is_json:
        write_json({"queue": queue, "purged": purged})
    else:
        write(f"purged {counted(purged, 'message')}\n")


def pause(
    queue: QueueArgument,
    *,
    is_json: JsonOption = False,
    socket: SocketOption = None,
    timeout: TimeoutOption = None,
) -> None:
    """Deliver nothing more from a queue; it still takes messages."""
    _tell("pause", queue, is_json=is_json, socket=socket, timeout=timeout)


def resume(
    queue: QueueArgument,
    *,
    is_json: JsonOption = False,
    socket: SocketOption = None,
    timeout: TimeoutOption = None,
) -> None:
    """Deliver from a paused queue again."""
    _tell("resume", queue, is_json=is_json, socket=socket, timeout=timeout)


def _tell(
    method: str,
    queue: str,
    *,
    is_json: bool,
    socket: Path | None,
    timeout: float | None,
) -> None:
    from pymule.cli.asking import ask  # noqa: PLC0415  (not for --help)

    answer = ask(
        lambda client: client.call(method, queue=queue),
        socket=socket,
        timeout=timeout,
    )
    if is_json:
        write_json(answer)


def counted(count: object, thing: str) -> str:
    """Return ``1 message`` or ``3 messages``."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


COMMANDS: Final = (queues, peek, purge, pause, resume)
"""In the order in which the help shows them."""
