"""`trainguard audit`: who did what, and when."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from monitor_server.cli.asking import DEFAULT_SERVER, AsJson, Asking, Limit, Server, Token
from monitor_server.cli.printing import print_json, tell_audit


def add_audit_command(program: typer.Typer) -> None:
    """Put the command on ``program``."""
    program.command("audit")(list_audit)


def list_audit(
    run: Annotated[str | None, typer.Option(metavar="RUN", help="Only of this run.")] = None,
    project: Annotated[str | None, typer.Option(help="Only of this project.")] = None,
    by: Annotated[str | None, typer.Option(help="Only by: person, policy or local (a trainer's own brain).")] = None,
    limit: Limit = 50,
    server: Server = DEFAULT_SERVER,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """List what people and policies commanded, the latest first. Takes a token of scope admin, where there are any."""
    service = Asking(server, token)
    query = {
        "run_id": None if run is None else service.run_id(run),
        "project": project,
        "actor_kind": by,
        "limit": limit,
    }
    answer = service.get("audit", query)
    print_json(answer) if as_json else tell_audit(Console(), answer["entries"])
