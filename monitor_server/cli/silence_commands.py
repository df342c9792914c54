"""`trainguard silence`: not to be told for a while."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.console import Console

from monitor_server.cli.asking import DEFAULT_SERVER, AsJson, Asking, By, Server, Token, give_up
from monitor_server.cli.printing import print_json, tell_silences
from monitor_server.cli.spans import seconds_of

silence_program = typer.Typer(
    name="silence",
    help="Not to be told for a while. Decisions are made as before; what needs a person is told all the same.",
    no_args_is_help=True,
)


@silence_program.command("add")
def add(
    run: Annotated[
        str | None, typer.Option(metavar="RUN", help="This run: its name, id, or how its id begins.")
    ] = None,
    project: Annotated[str | None, typer.Option(help="Every run of this project.")] = None,
    kind: Annotated[str | None, typer.Option(help="This kind of trouble alone: loss_spike, plateau, silent, …")] = None,
    span: Annotated[str, typer.Option("--for", metavar="SPAN", help="How long, like 30m, 8h or 2d.")] = "1h",
    reason: Annotated[str, typer.Option(help="Kept with it, for others.")] = "",
    by: By = "",
    server: Server = DEFAULT_SERVER,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Begin a silence of a run, a project or a kind of trouble; of all that are given together."""
    if run is None and project is None and kind is None:
        give_up("say what to be silent about: --run, --project or --kind", 2)
    service = Asking(server, token)
    body = {
        "run_id": None if run is None else service.run_id(run),
        "project": project,
        "kind": kind,
        "seconds": seconds_of(span),
        "created_by": by,
        "reason": reason,
    }
    answer = service.post("silences", body)
    if as_json:
        print_json(answer)
        return
    ends = time.strftime("%Y-%m-%d %H:%M", time.localtime(answer["ends_at"]))
    print(f"Silent until {ends}. End it sooner with: trainguard silence lift {answer['silence_id'][:8]}")


@silence_program.command("list")
def list_silences(
    ended: Annotated[bool, typer.Option("--ended", help="Those that have ended, too.")] = False,
    server: Server = DEFAULT_SERVER,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """List the silences in force."""
    answer = Asking(server, token).get("silences", {"ended": ended or None})
    print_json(answer) if as_json else tell_silences(Console(), answer["silences"])


@silence_program.command()
def lift(
    silence: Annotated[str, typer.Argument(metavar="ID", help="The silence's id, or how it begins.")],
    server: Server = DEFAULT_SERVER,
    token: Token = None,
) -> None:
    """Be told again, from now on."""
    service = Asking(server, token)
    listed = service.get("silences")["silences"]
    named = [one["silence_id"] for one in listed if one["silence_id"].startswith(silence.lower())]
    if len(named) != 1:
        found = "no silence" if not named else f"{len(named)} silences"
        give_up(f"{found} with an id that begins with {silence!r}; see: trainguard silence list")
    service.delete(f"silences/{named[0]}")
    print("Lifted.")
