"""``pymule dead``: the messages that were given up."""

import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from pymule.cli.ages import seconds_in
from pymule.cli.consent import check_can_ask, confirm
from pymule.cli.daemon_options import JsonOption, SocketOption, TimeoutOption
from pymule.cli.entry import complain, write, write_bytes, write_json
from pymule.cli.exits import ExitCode, exit_code_of
from pymule.cli.queues import counted

if TYPE_CHECKING:
    from pymule.cli.letters import Filter, Outcome
    from pymule.client.aio import Client

__all__ = ("app",)

_LISTED: Final = 100

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Look at messages that were given up; try them again, or drop them.",
)


def _seconds(text: str) -> float:
    try:
        return seconds_in(text)
    except ValueError as exc:
        raise typer.BadParameter(str(exc)) from None


class Reason(StrEnum):
    """The words of ``--reason``."""

    ATTEMPTS = "attempts"
    CRASHES = "crashes"
    REJECTED = "rejected"


QueueOption = Annotated[
    str | None, typer.Option("--queue", "-q", metavar="QUEUE", help="Of this queue.")
]
ReasonOption = Annotated[
    Reason | None, typer.Option("--reason", help="Given up for this reason.")
]
OlderOption = Annotated[
    float | None,
    typer.Option(
        "--older-than",
        metavar="SPAN",
        parser=_seconds,
        help="Dead for at least so long, as 90s, 1h or 1d12h.",
    ),
]
NewerOption = Annotated[
    float | None,
    typer.Option(
        "--newer-than",
        metavar="SPAN",
        parser=_seconds,
        help="Dead for at most so long.",
    ),
]
LimitOption = Annotated[
    int | None,
    typer.Option(
        "--limit", "-n", metavar="N", min=1, help="So many, the oldest first."
    ),
]
IdsArgument = Annotated[
    list[int] | None,
    typer.Argument(metavar="ID", min=1, help="Those.", show_default=False),
]
AllOption = Annotated[bool, typer.Option("--all", help="All there are.")]


@app.command()
def ls(
    *,
    queue: QueueOption = None,
    reason: ReasonOption = None,
    older_than: OlderOption = None,
    newer_than: NewerOption = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", metavar="N", min=1, help="So many.")
    ] = _LISTED,
    is_json: JsonOption = False,
    socket: SocketOption = None,
    timeout: TimeoutOption = None,
) -> None:
    """List them by queue, the oldest first."""
    from pymule.cli.asking import ask  # noqa: PLC0415  (not for --help)
    from pymule.cli.letters import Filter, all_letters  # noqa: PLC0415  (as above)
    from pymule.cli.queue_text import render_letters  # noqa: PLC0415  (as above)

    # One more, to know whether there are more.
    wanted = Filter(queue, reason, older_than, newer_than, limit + 1)

    async def work(client: "Client") -> list[dict[str, object]]:
        return [row async for row in all_letters(client, wanted)]

    rows = ask(work, socket=socket, timeout=timeout)
    if is_json:
        write_json(rows[:limit])
    else:
        write(render_letters(rows[:limit], time.time()))
    if len(rows) > limit:
        complain(f"there are more than {limit}; --limit shows more")


@app.command()
def show(
    number: Annotated[
        int,
        typer.Argument(metavar="ID", min=1, help="Of the message.", show_default=False),
    ],
    *,
    raw: Annotated[
        bool, typer.Option("--raw", help="Write the body alone, byte for byte.")
    ] = False,
    is_json: JsonOption = False,
    socket: SocketOption = None,
    timeout: TimeoutOption = None,
) -> None:
    """Show all of one: attempts, the last traceback, the body."""
    if raw and is_json:
        raise typer.BadParameter("--raw and --json exclude each other")
    from pymule.cli.asking import ask  # noqa: PLC0415  (not for --help)
    from pymule.cli.letters import letter_of  # noqa: PLC0415  (as above)
    from pymule.cli.queue_text import render_letter  # noqa: PLC0415  (as above)
    from pymule.sansio.excerpt import excerpt_bytes  # noqa: PLC0415  (as above)

    row = ask(lambda client: letter_of(client, number), socket=socket, timeout=timeout)
    if raw:
        write_bytes(excerpt_bytes(row))
    elif is_json:
        write_json(row)
    else:
        write(render_letter(row, time.time()))


@app.command()
def replay(
    ids: IdsArgument = None,
    *,
    queue: QueueOption = None,
    reason: ReasonOption = None,
    older_than: OlderOption = None,
    newer_than: NewerOption = None,
    limit: LimitOption = None,
    every: AllOption = False,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="QUEUE", help="To this queue, not to their own."),
    ] = None,
    is_json: JsonOption = False,
    socket: SocketOption = None,
    timeout: TimeoutOption = None,
) -> None:
    """Try dead letters again, as if for the first time: some or all."""
    from pymule.cli.asking import ask  # noqa: PLC0415  (not for --help)
    from pymule.cli.letters import Filter, ids_of, replay_letters  # noqa: PLC0415

    wanted = Filter(queue, reason, older_than, newer_than, limit)
    _check_choice(ids, wanted, every=every)

    async def work(client: "Client") -> "Outcome":
        return await replay_letters(client, ids or await ids_of(client, wanted), to)

    outcome = ask(work, socket=socket, timeout=timeout)
    _report("replayed", outcome, is_json=is_json)


@app.command()
def purge(
    ids: IdsArgument = None,
    *,
    queue: QueueOption = None,
    reason: ReasonOption = None,
    older_than: OlderOption = None,
    newer_than: NewerOption = None,
    limit: LimitOption = None,
    every: AllOption = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    is_json: JsonOption = False,
    socket: SocketOption = None,
    timeout: TimeoutOption = None,
) -> None:
    """Drop dead letters for good: some or all."""
    from pymule.cli.letters import Filter, ids_of, purge_letters  # noqa: PLC0415

    wanted = Filter(queue, reason, older_than, newer_than, limit)
    _check_choice(ids, wanted, every=every)
    if not yes:
        check_can_ask("purges them")
    from pymule.cli.asking import ask  # noqa: PLC0415  (not for --help)

    numbers = ids or ask(
        lambda client: ids_of(client, wanted), socket=socket, timeout=timeout
    )
    if not yes and numbers:
        confirm(f"purge {counted(len(numbers), 'dead letter')}?")
    outcome = ask(
        lambda client: purge_letters(client, numbers), socket=socket, timeout=timeout
    )
    _report("purged", outcome, is_json=is_json)


@app.command()
def export(
    *,
    queue: QueueOption = None,
    reason: ReasonOption = None,
    older_than: OlderOption = None,
    newer_than: NewerOption = None,
    limit: LimitOption = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="PATH", help="To PATH, a new file."),
    ] = None,
    socket: SocketOption = None,
    timeout: TimeoutOption = None,
) -> None:
    """Write dead letters as lines of JSON, with bodies in base64."""
    from pymule.cli.asking import ask  # noqa: PLC0415  (not for --help)
    from pymule.cli.exporting import export_letters, opened  # noqa: PLC0415
    from pymule.cli.letters import Filter  # noqa: PLC0415  (as above)

    wanted = Filter(queue, reason, older_than, newer_than, limit)
    with opened(output) as put:
        count = ask(
            lambda client: export_letters(client, wanted, put),
            socket=socket,
            timeout=timeout,
        )
    if output is not None:
        complain(f"{output}: {counted(count, 'dead letter')}")


def _check_choice(ids: Sequence[int] | None, wanted: "Filter", *, every: bool) -> None:
    chosen = [bool(ids), not wanted.is_empty, every]
    if not any(chosen):
        raise typer.BadParameter("which? Name IDs, --queue or the like, or --all")
    if sum(chosen) > 1:
        raise typer.BadParameter(
            "IDs, --queue and the like, and --all exclude each other"
        )


def _report(did: str, outcome: "Outcome", *, is_json: bool) -> None:
    if is_json:
        write_json({did: outcome.done, "unknown": outcome.unknown})
    else:
        write(f"{did} {counted(len(outcome.done), 'dead letter')}\n")
    if outcome.unknown:
        complain(f"no dead letter {', '.join(map(str, outcome.unknown))}")
    if outcome.error is not None:
        complain(str(outcome.error))
        raise typer.Exit(exit_code_of(outcome.error))
    if outcome.unknown:
        raise typer.Exit(ExitCode.BAD_DATA)
