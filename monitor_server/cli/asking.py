"""Asking a service that runs, over its own API, and giving up in a sentence where it gives no answer."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, NoReturn
from uuid import UUID

import typer
from rich.console import Console
from rich.markup import escape

from monitor_server.client.connection import Connection, NotAllowed, ServiceError, Unreachable

DEFAULT_SERVER = "http://127.0.0.1:8321"
TIMEOUT_SECONDS = 10.0

Server = Annotated[
    str,
    typer.Option(envvar="TRAINGUARD_SERVER", metavar="URL", help="The address of the service."),
]
Token = Annotated[
    str | None,
    typer.Option(
        envvar="TRAINGUARD_TOKEN",
        metavar="TOKEN",
        help="For a service that wants one. Better in the variable, where no process list shows it.",
        show_envvar=True,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the service's own JSON, for other programs.")]
Limit = Annotated[int, typer.Option(min=1, max=500, help="How many at most, the latest first.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking back.")]
By = Annotated[str, typer.Option("--by", metavar="NAME", help="Who you are. [dim]Default: the name of the token[/]")]


@dataclass(frozen=True, slots=True)
class Asking:
    """Where to ask, and with which token. Every failure ends the program with one sentence."""

    server: str
    token: str | None = None

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The JSON object at ``/api/v1/{path}``; query values of None are left out."""
        return self._ask("GET", path, query=query)

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """What the service answers to ``body``; values of None are left out."""
        told = {name: value for name, value in body.items() if value is not None}
        return self._ask("POST", path, body=told)

    def delete(self, path: str) -> None:
        """Have something removed."""
        self._ask("DELETE", path)

    def run_id(self, run: str) -> str:
        """The id behind what a person calls a run: the latest of that name, else the one whose id begins so."""
        with suppress(ValueError):
            return str(UUID(run))
        named = self.get("runs", {"name": run, "limit": 1})["runs"]
        if not named:
            named = [one for one in self.get("runs", {"limit": 500})["runs"] if one["run_id"].startswith(run.lower())]
        if len(named) != 1:
            found = "no run" if not named else f"{len(named)} runs"
            give_up(f"{found} called {run!r}, or with an id that begins so; see: trainguard runs")
        return str(named[0]["run_id"])

    def incident_id(self, incident: str) -> str:
        """The id of the incident whose id is this or begins so."""
        with suppress(ValueError):
            return str(UUID(incident))
        listed = self.get("incidents", {"limit": 1000})["incidents"]
        named = [one for one in listed if one["incident_id"].startswith(incident.lower())]
        if len(named) != 1:
            found = "no incident" if not named else f"{len(named)} incidents"
            give_up(f"{found} with an id that begins with {incident!r}; see: trainguard incidents")
        return str(named[0]["incident_id"])

    def _ask(
        self, method: str, path: str, *, query: Mapping[str, Any] | None = None, body: Any = None
    ) -> dict[str, Any]:
        try:
            with Connection(self.server, self.token, timeout_seconds=TIMEOUT_SECONDS) as service:
                return service.request(method, path, query=query, body=body)
        except NotAllowed as error:
            remedy = "" if self.token else "; give one with --token or TRAINGUARD_TOKEN"
            give_up(f"{error}{remedy}")
        except Unreachable as error:
            remedy = "start one with: trainguard serve, or name another with --server or TRAINGUARD_SERVER"
            give_up(str(error) if "is no address" in str(error) else f"{error}; {remedy}")
        except (ServiceError, ValueError) as error:
            give_up(str(error))


def give_up(sentence: str, status: int = 1) -> NoReturn:
    """End with one sentence on standard error."""
    Console(stderr=True).print(f"[red]trainguard:[/] {escape(sentence)}", soft_wrap=True, highlight=False)
    raise typer.Exit(status)


def confirm(consequence: str, is_sure: bool) -> None:
    """Say what will happen, and go on only with a yes."""
    if is_sure:
        return
    Console(stderr=True).print(escape(consequence), soft_wrap=True, highlight=False)
    if not typer.confirm("Do it?", err=True):
        give_up("nothing was done")
