"""`trainguard incidents`: list them, look at one, and say what is to be done about it."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from monitor_server.cli.asking import DEFAULT_SERVER, AsJson, Asking, By, Limit, Server, Token, Yes, confirm
from monitor_server.cli.printing import print_json, tell_incident, tell_incidents

incident_program = typer.Typer(
    name="incidents",
    invoke_without_command=True,
    help="List the incidents: what went wrong, what was done about it, and how it ended. Or act on one.",
)

Incident = Annotated[str, typer.Argument(metavar="ID", help="The incident's id, or how it begins.")]
Why = Annotated[str, typer.Option("--comment", metavar="WORDS", help="Kept with it, for others.")]


@incident_program.callback()
def incidents(
    context: typer.Context,
    server: Server = DEFAULT_SERVER,
    token: Token = None,
    run_id: Annotated[str | None, typer.Option(metavar="ID", help="Only of this run.")] = None,
    state: Annotated[
        list[str] | None, typer.Option(help="Only this state: open, recovering, watching, resolved or escalated.")
    ] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List the incidents: what went wrong, what was done about it, and how it ended. Or act on one."""
    if context.invoked_subcommand is not None:
        return
    path = f"runs/{run_id}/incidents" if run_id else "incidents"
    answer = Asking(server, token).get(path, {"limit": limit, "state": state})
    print_json(answer) if as_json else tell_incidents(Console(), answer["incidents"])


@incident_program.command()
def show(incident: Incident, server: Server = DEFAULT_SERVER, token: Token = None, as_json: AsJson = False) -> None:
    """Show one incident: findings, likely causes, decisions, commands, and what people said."""
    service = Asking(server, token)
    answer = service.get(f"incidents/{service.incident_id(incident)}")
    print_json(answer) if as_json else tell_incident(Console(), answer)


@incident_program.command("ack")
def acknowledge(
    incident: Incident,
    comment: Why = "",
    by: By = "",
    server: Server = DEFAULT_SERVER,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Say that you have seen it."""
    _say(Asking(server, token), incident, "acknowledge", {"by": by, "comment": comment}, as_json, "Acknowledged.")


@incident_program.command()
def comment(
    incident: Incident,
    words: Annotated[str, typer.Argument(metavar="WORDS")],
    by: By = "",
    server: Server = DEFAULT_SERVER,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Add a comment."""
    _say(Asking(server, token), incident, "comment", {"by": by, "comment": words}, as_json, "Noted.")


@incident_program.command()
def approve(
    incident: Incident,
    comment: Why = "",
    by: By = "",
    is_sure: Yes = False,
    server: Server = DEFAULT_SERVER,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Let what is proposed be done. The trainer does it at its next step boundary."""
    service = Asking(server, token)
    incident_id = service.incident_id(incident)
    detail = service.get(f"incidents/{incident_id}")
    proposal = detail["proposal"]
    if proposal is not None:
        confirm(f"{detail['incident']['run']}: {proposal['reason']}", is_sure)
    body = {"by": by, "comment": comment, "decision_id": proposal["decision_id"] if proposal else None}
    _say(service, incident_id, "approve", body, as_json, "Approved: the trainer finds the command in its next receipt.")


@incident_program.command()
def decline(
    incident: Incident,
    comment: Why = "",
    by: By = "",
    server: Server = DEFAULT_SERVER,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Say no to what is proposed: nothing is done, and the same thing is not proposed again."""
    _say(Asking(server, token), incident, "decline", {"by": by, "comment": comment}, as_json, "Declined.")


@incident_program.command()
def resolve(
    incident: Incident,
    comment: Why = "",
    by: By = "",
    server: Server = DEFAULT_SERVER,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Close it by hand. If the trouble goes on, it opens a new one."""
    _say(Asking(server, token), incident, "resolve", {"by": by, "comment": comment}, as_json, "Resolved.")


def _say(service: Asking, incident: str, verb: str, body: dict[str, str | None], as_json: bool, done: str) -> None:
    answer = service.post(f"incidents/{service.incident_id(incident)}/{verb}", body)
    print_json(answer) if as_json else print(done)
