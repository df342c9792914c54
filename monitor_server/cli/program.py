"""The commands and their options. What they do lives in the files beside."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console

from monitor_server.cli import without_collections
from monitor_server.cli.asking import DEFAULT_SERVER, AsJson, Asking, Limit, Server, Token, give_up
from monitor_server.cli.audit_commands import add_audit_command
from monitor_server.cli.incident_commands import incident_program
from monitor_server.cli.ordering_commands import ordering_program
from monitor_server.cli.past_log_commands import add_past_log_commands
from monitor_server.cli.playbook_commands import playbook_program
from monitor_server.cli.printing import print_json, tell_advice, tell_runs
from monitor_server.cli.silence_commands import silence_program
from monitor_server.cli.token_commands import token_program
from trainguard import __version__

program = typer.Typer(
    name="trainguard",
    help="Keeps training runs alive: sees them go wrong, brings them back, and says what it did and why.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

for _more in (incident_program, ordering_program, silence_program, token_program, playbook_program):
    program.add_typer(_more)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"trainguard {__version__}")
        raise typer.Exit


@program.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and stop.")
    ] = False,
) -> None:
    pass


@program.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on. [dim]Default: 127.0.0.1[/]")] = None,
    port: Annotated[int | None, typer.Option(help="0 takes any free port. [dim]Default: 8321[/]")] = None,
    database: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="sqlite:///file.db or postgresql+psycopg://user@host/name. [dim]Default: sqlite:///trainguard.db[/]",
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes behind the port; more than one needs PostgreSQL. [dim]Default: 1[/]")
    ] = None,
    webhook: Annotated[
        str | None,
        typer.Option(metavar="URL", help="POST a message here when an incident opens, recovers or needs a person."),
    ] = None,
    notify_file: Annotated[
        str | None, typer.Option("--notify", metavar="FILE", help="Further receivers and routes, in YAML.")
    ] = None,
    public_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Where people reach the page; links in messages begin with it.")
    ] = None,
    insecure: Annotated[
        bool | None,
        typer.Option("--insecure", help="Listen where others can reach it, although nobody has to sign in."),
    ] = None,
) -> None:
    """Run the service: page, API and metrics on one port.

    Every option, and more, is also read from a variable: [bold]TRAINGUARD_DATABASE[/],
    [bold]TRAINGUARD_WEBHOOK_SECRET[/] and so on.
    """
    with without_collections():
        from monitor_server.cli.serving import run_service  # its libraries are of another extra than ours

    run_service(
        {
            "host": host,
            "port": port,
            "database": database,
            "workers": workers,
            "webhook_url": webhook,
            "notify_file": notify_file,
            "public_url": public_url,
            "insecure": insecure,
        }
    )


@program.command()
def runs(
    server: Server = DEFAULT_SERVER,
    token: Token = None,
    project: Annotated[str | None, typer.Option(help="Only this project.")] = None,
    state: Annotated[
        list[str] | None, typer.Option(help="Only this state: running, silent, finished, halted or failed.")
    ] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List the runs: where they are, how they are, and what is the matter."""
    answer = Asking(server, token).get("runs", {"limit": limit, "project": project, "state": state})
    print_json(answer) if as_json else tell_runs(Console(), answer["runs"])


@program.command()
def doctor(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run's name, its id, or how its id begins.")],
    server: Server = DEFAULT_SERVER,
    token: Token = None,
    task: Annotated[
        str | None,
        typer.Option(help="Whose ranges apply: pre-training, fine-tuning or cnn. [dim]Default: the run's tag task[/]"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a run's set-up: rate, warm-up, betas, decay, precision, against published ranges and what is known."""
    service = Asking(server, token)
    answer = service.get(f"runs/{service.run_id(run)}/advice", {"task": task})
    print_json(answer) if as_json else tell_advice(Console(), answer)


notify = typer.Typer(help="Whom the service tells, and whether it reaches them.", no_args_is_help=True)
program.add_typer(notify, name="notify")

NotifyFile = Annotated[
    str | None,
    typer.Option("--file", metavar="FILE", help="Receivers and routes. [dim]Default: TRAINGUARD_NOTIFY_FILE[/]"),
]


@notify.command("test")
def notify_test(
    receiver: Annotated[list[str] | None, typer.Option(help="Only this one; may be given several times.")] = None,
    file: NotifyFile = None,
) -> None:
    """Send a test message to every receiver, from this machine and with this environment's settings.

    The exit status is 0 when all of them arrived.
    """
    from monitor_server.cli.notifying import send_test  # its libraries are of another extra than ours

    settings = _settings({"notify_file": file})
    names = settings.address_book.names
    for name in receiver or ():
        if name not in names:
            give_up(f"there is no receiver {name!r}; known are: {', '.join(names) or 'none'}")
    if not names:
        give_up("nobody is to be told: set TRAINGUARD_WEBHOOK_URL, or TRAINGUARD_NOTIFY_FILE with receivers")
    if not send_test(Console(), settings, receiver or names):
        raise typer.Exit(1)


@notify.command("routes")
def notify_routes(
    project: Annotated[str, typer.Option(help="Of the run.")] = "default",
    severity: Annotated[str, typer.Option(help="info, warning or critical.")] = "critical",
    file: NotifyFile = None,
) -> None:
    """Say who would be told of an incident of this project and severity, state by state; nothing is sent."""
    from monitor_server.cli.notifying import tell_routes  # its libraries are of another extra than ours

    settings = _settings({"notify_file": file})
    for event in ("opened", "needs_approval", "recovering", "recovered", "resolved", "escalated", "silent"):
        tell_routes(Console(), settings, project, severity, event)


def _settings(given: dict[str, Any]) -> Any:
    from monitor_server.settings import SettingsError, read_settings

    try:
        return read_settings(given)
    except SettingsError as error:
        give_up(str(error))


add_past_log_commands(program)
add_audit_command(program)
