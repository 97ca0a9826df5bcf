"""``pymule``: ask and tell the daemon what there is to ask and tell."""

import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from pymule.cli import dead, journal, queues
from pymule.cli.daemon_options import AllOption, JsonOption, SocketOption, TimeoutOption
from pymule.cli.entry import (
    complain,
    is_coloured,
    run_app,
    show_version,
    version_line,
    write,
    write_json,
)
from pymule.cli.exits import ExitCode
from pymule.cli.option_words import (
    AtOption,
    DelayOption,
    HeaderOption,
    KeyOption,
    MaxAttemptsOption,
    MessageIdOption,
    PriorityOption,
    TtlOption,
    packed_words,
)
from pymule.sansio.options import OptionWords
from pymule.sansio.target import Target

if TYPE_CHECKING:
    from pymule.client.aio import Client

__all__ = ("main",)

_TAIL_MAX: Final = 1000

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Form(StrEnum):
    """The words of ``--format``."""

    INI = "ini"
    XML = "xml"
    YAML = "yaml"
    JSON = "json"


def main() -> NoReturn:
    """Run ``pymule`` with the arguments of this process, and exit."""
    sys.exit(run_app(app, sys.argv[1:], "pymule"))


@app.callback()
def pymule(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=show_version, is_eager=True, help="Show the version."
        ),
    ] = False,
) -> None:
    """Control a pymuled that runs on this machine."""


@app.command()
def status(
    *,
    show_all: AllOption = False,
    is_json: JsonOption = False,
    socket: SocketOption = None,
    timeout: TimeoutOption = None,
) -> None:
    """Show mules, queues and clients."""
    from pymule.cli.asking import ask  # noqa: PLC0415  (see send)
    from pymule.cli.status import render_status  # noqa: PLC0415  (as above)
    from pymule.cli.whole import whole_status  # noqa: PLC0415  (as above)

    answer = ask(whole_status, socket=socket, timeout=timeout)
    if is_json:
        write_json(answer)
    else:
        write(render_status(answer, is_coloured=is_coloured(), is_long=show_all))


@app.command()
def send(
    message: Annotated[
        str | None,
        typer.Argument(
            metavar="MESSAGE",
            help="What to send; - is all of stdin.",
            show_default=False,
        ),
    ] = None,
    *,
    mule: Annotated[
        int | None,
        typer.Option("--mule", metavar="N", min=1, help="To this mule and no other."),
    ] = None,
    farm: Annotated[
        str | None,
        typer.Option("--farm", metavar="NAME", help="To one mule of this farm."),
    ] = None,
    delay: DelayOption = None,
    at: AtOption = None,
    priority: PriorityOption = None,
    ttl: TtlOption = None,
    key: KeyOption = None,
    message_id: MessageIdOption = None,
    header: HeaderOption = None,
    max_attempts: MaxAttemptsOption = None,
    lines: Annotated[
        bool,
        typer.Option(
            "--lines", help="Each line of MESSAGE, or of stdin, is one message."
        ),
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print the ids of the messages.")
    ] = False,
    socket: SocketOption = None,
    timeout: TimeoutOption = None,
) -> None:
    """Send a message to the first available mule, to a certain one, or to a farm.

    Ends when the daemon has taken the message.
    """
    _check_message(message, message_id, is_lines=lines)
    where = _where(mule, farm)
    words = OptionWords(delay=delay or 0, priority=priority or 0, ttl=ttl, key=key)
    words |= {"message_id": message_id, "max_attempts": max_attempts}
    options = packed_words(at=at, header=header, words=words)
    # asyncio takes longer to load than all else; --help and bad usage need none.
    from pymule.cli.asking import ask  # noqa: PLC0415
    from pymule.cli.sending import batches_of, send_batches  # noqa: PLC0415

    def show(ids: Sequence[int]) -> None:
        if verbose:
            write("".join(f"{number}\n" for number in ids))

    async def work(client: "Client") -> None:
        messages = batches_of(message, sys.stdin.fileno(), is_lines=lines)
        await send_batches(client, where, messages, show, options=options)

    ask(work, socket=socket, timeout=timeout)


def _check_message(
    message: str | None, message_id: str | None, *, is_lines: bool
) -> None:
    if message is None and not is_lines:
        raise typer.BadParameter("MESSAGE is missing; - reads it from stdin")
    if message_id is not None and is_lines:
        raise typer.BadParameter("--message-id is for one message; --lines are many")


def _where(mule: int | None, farm: str | None) -> int | str | None:
    if mule is not None and farm is not None:
        raise typer.BadParameter("--mule and --farm exclude each other")
    try:
        Target.of(mule=mule, farm=farm)
    except ValueError as exc:
        raise typer.BadParameter(str(exc)) from None
    return mule if farm is None else farm


@app.command(name="signal")
def raise_signal(
    number: Annotated[
        int,
        typer.Argument(
            metavar="NUM", min=0, max=255, help="The signal.", show_default=False
        ),
    ],
    *,
    socket: SocketOption = None,
    timeout: TimeoutOption = None,
) -> None:
    """Raise a signal: its handler runs where it was registered for.

    Ends when the daemon has it.
    """
    from pymule.cli.asking import ask  # noqa: PLC0415  (see send)

    ask(
        lambda client: client.call("raise", signal=number),
        socket=socket,
        timeout=timeout,
    )


@app.command()
def reload(*, socket: SocketOption = None, timeout: TimeoutOption = None) -> None:
    """Read the configuration again and replace mule by mule; wait for the end.

    A configuration with a mistake changes nothing.
    """
    from pymule.cli.asking import ask  # noqa: PLC0415  (see send)

    answer = ask(lambda client: client.call("reload"), socket=socket, timeout=timeout)
    if answer.get("error"):
        complain(f"not reloaded: {answer['error']}")
        raise typer.Exit(ExitCode.BAD_CONFIG)
    write("reloaded\n")


@app.command()
def stop(
    *,
    now: Annotated[
        bool, typer.Option("--now", help="Kill the mules; do not let them finish.")
    ] = False,
    socket: SocketOption = None,
    timeout: TimeoutOption = None,
) -> None:
    """Let the mules finish what they have in hand, stop, and wait for the end."""
    from pymule.cli.asking import ask  # noqa: PLC0415  (see send)
    from pymule.cli.stopping import stop_daemon  # noqa: PLC0415  (as above)

    ask(lambda client: stop_daemon(client, now=now), socket=socket, timeout=timeout)


@app.command()
def logs(
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what comes.")
    ] = False,
    lines: Annotated[
        int,
        typer.Option(
            "--lines",
            "-n",
            metavar="LINES",
            min=0,
            max=_TAIL_MAX,
            help="How many of the last records to show.",
        ),
    ] = 50,
    socket: SocketOption = None,
    timeout: TimeoutOption = None,
) -> None:
    """Show what the daemon and its mules have logged."""
    from pymule.cli.asking import ask  # noqa: PLC0415  (see send)

    async def work(client: "Client") -> None:
        async for answer in client.stream("logs", follow=follow, lines=lines):
            if dropped := answer.get("dropped"):
                complain(f"{dropped} records not shown; this reader was too slow")
            records = answer.get("lines")
            if isinstance(records, list) and records:
                write("".join(f"{record}\n" for record in records))

    ask(work, socket=socket, timeout=timeout)


@app.command()
def convert(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE",
            help="A file of uWSGI, FILE:SECTION, or - for stdin; or a whole command"
            " line after --.",
            show_default=False,
        ),
    ],
    *,
    form: Annotated[
        Form | None,
        typer.Option(
            "--format", help="The form of FILE.  [default: by its name or its text]"
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="PATH", help="Write to PATH, a new file."
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite the file of --output.")
    ] = False,
    no_uwsgi: Annotated[
        bool,
        typer.Option("--no-uwsgi", help="For programs that do not import uwsgi."),
    ] = False,
) -> None:
    """Write the configuration that does what one of uWSGI does with mules.

    What it cannot say is in comments, with the reason. Nothing is run.

    pymule convert uwsgi.ini -o pymule.toml

    pymule convert -- uwsgi --mule=work.py --mules 2 --farm busy:1,2
    """
    from pymule.cli.converting import convert_words  # noqa: PLC0415  (no other needs it)

    convert_words(
        words,
        form="" if form is None else form.value,
        output=output,
        force=force,
        with_uwsgi=not no_uwsgi,
    )


@app.command()
def version(*, socket: SocketOption = None, timeout: TimeoutOption = None) -> None:
    """Show the version of this command, and of the daemon if one runs."""
    from pymule.cli.asking import ask  # noqa: PLC0415  (see send)

    write(f"{version_line('pymule')}\n")
    try:
        answer = ask(
            lambda client: client.call("status"), socket=socket, timeout=timeout
        )
    except typer.Exit as exc:
        if exc.exit_code != ExitCode.NO_DAEMON:
            raise
    else:
        write(f"pymuled {answer.get('version')} (pid {answer.get('pid')})\n")


for command in queues.COMMANDS:
    app.command()(command)
app.add_typer(dead.app, name="dead")
app.add_typer(journal.app, name="journal")


if __name__ == "__main__":
    main()
