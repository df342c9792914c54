"""`trainguard token`: tokens are made, listed, renewed and revoked in the database itself.

So the first one needs no service and no other token; whoever may write the database is an administrator already.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from monitor_server.cli.asking import AsJson, give_up
from monitor_server.cli.printing import ago, print_json
from monitor_server.cli.spans import seconds_of

if TYPE_CHECKING:
    from monitor_server.storage import Database
    from monitor_server.storage.tokens import TokenRow

token_program = typer.Typer(
    name="token",
    help="Who may come in: make, list, renew and revoke tokens. Works on the database itself.",
    no_args_is_help=True,
)

DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL", help="As of trainguard serve. [dim]Default: TRAINGUARD_DATABASE or sqlite:///trainguard.db[/]"
    ),
]
TokenId = Annotated[str, typer.Argument(metavar="ID", help="The token's id, its name, or the token itself.")]


@token_program.command("create")
def create(
    name: Annotated[str, typer.Argument(help="For people: who or what will bear it.")],
    scope: Annotated[
        list[str], typer.Option(help="ingest (trainers), read, command or admin; may be given several times.")
    ],
    project: Annotated[str | None, typer.Option(help="Good for this project alone. [dim]Default: all[/]")] = None,
    expires: Annotated[str | None, typer.Option(metavar="SPAN", help="Like 12h or 90d. [dim]Default: never[/]")] = None,
    database: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Make a token and print it, this once: only a digest of it is kept."""
    from monitor_server.access import SCOPES, make_token
    from monitor_server.pipeline import keep_token

    for one in scope:
        if one not in SCOPES:
            give_up(f"{one!r} is no scope; known are {', '.join(SCOPES)}", 2)
    lifetime = None if expires is None else seconds_of(expires)
    made = make_token(
        name, scope, now=time.time(), created_by="the shell", project=project, lifetime_seconds=lifetime  # type: ignore[arg-type]
    )  # fmt: skip
    with _opened(database) as opened, opened.write() as connection:
        keep_token(connection, made.row, by="the shell")
    if as_json:
        print_json({**_told(made.row), "token": made.word})
        return
    screen = Console(stderr=True, highlight=False)
    screen.print(f"Made token {made.row.token_id} ({escape(name)}) in {escape(_place(database))}.", soft_wrap=True)
    screen.print("From now on everybody needs a token there. This is the only time that it is shown:", soft_wrap=True)
    print(made.word)


@token_program.command("list")
def list_tokens(database: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """List the tokens: what each may do, whether it is good, and when it was last used."""
    from monitor_server.storage import tokens

    with _opened(database) as opened, opened.read() as connection:
        rows = tokens.listing(connection)
    if as_json:
        print_json({"tokens": [_told(row) for row in rows]})
        return
    if not rows:
        print(f"No tokens in {_place(database)}: nobody has to sign in. Make one with: trainguard token create")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("id", "name", "scopes", "project", "state", "expires", "last used"):
        table.add_column(heading, no_wrap=heading not in ("name", "project"))
    now = time.time()
    for row in rows:
        table.add_row(
            row.token_id,
            escape(row.name),
            ", ".join(row.scopes),
            escape(row.project) if row.project is not None else "all",
            row.state(now),
            "never" if row.expires_at is None else time.strftime("%Y-%m-%d", time.gmtime(row.expires_at)),
            "never" if row.last_used_at is None else ago(row.last_used_at, now),
        )
    Console().print(table)


@token_program.command("revoke")
def revoke_token(token: TokenId, database: DatabaseUrl = None) -> None:
    """Never let a token in again. A service that runs hears of it within seconds."""
    from monitor_server.pipeline import revoke

    with _opened(database) as opened, opened.write() as connection:
        row = _found(connection, token)
        revoke(connection, row, now=time.time(), by="the shell")
    print(f"Revoked token {row.token_id} ({row.name}).")


@token_program.command("rotate")
def rotate_token(
    token: TokenId,
    grace: Annotated[str, typer.Option(metavar="SPAN", help="How long the former secret is good.")] = "1d",
    database: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Give a token a new secret and print it; the former one is good for a while more, for trainers that run."""
    from monitor_server.access import renew_token
    from monitor_server.pipeline import renew

    grace_seconds = 0.0 if grace == "0" else seconds_of(grace)
    with _opened(database) as opened, opened.write() as connection:
        row = _found(connection, token)
        if row.revoked_at is not None:
            give_up(f"token {row.name!r} was revoked; make a new one")
        made = renew_token(row, now=time.time(), grace_seconds=grace_seconds)
        renew(connection, made.row, now=time.time(), by="the shell")
    if as_json:
        print_json({**_told(made.row), "token": made.word})
        return
    Console(stderr=True, highlight=False).print(
        f"The former secret of {row.token_id} ({escape(row.name)}) is good for {grace}. The new token:", soft_wrap=True
    )
    print(made.word)


@contextmanager
def _opened(url: str | None) -> Iterator[Database]:
    """The database, with its tables, or one sentence why not."""
    from monitor_server.settings import SettingsError, read_settings
    from monitor_server.storage import Database, DatabaseUnavailable, SchemaError, schema

    try:
        with closing(Database(read_settings({"database": url}).database)) as database:
            schema.upgrade(database)
            yield database
    except SettingsError as error:
        give_up(str(error), 2)
    except (DatabaseUnavailable, SchemaError) as error:
        give_up(f"{_place(url)}: {error}")


def _place(url: str | None) -> str:
    from sqlalchemy.engine import make_url

    from monitor_server.settings import read_settings

    return make_url(read_settings({"database": url}).database).render_as_string(hide_password=True)


def _found(connection: Any, token: str) -> TokenRow:
    from monitor_server.access.secrets import read_word
    from monitor_server.storage import tokens

    told = read_word(token)
    named = [one for one in tokens.listing(connection) if token in (one.token_id, one.name)]
    if told is not None and not named:
        named = [one for one in tokens.listing(connection) if one.token_id == told[0]]
    if len(named) != 1:
        give_up(f"{'no token' if not named else f'{len(named)} tokens'} called {token!r}; see: trainguard token list")
    return named[0]


def _told(row: TokenRow) -> dict[str, Any]:
    return {
        "token_id": row.token_id,
        "name": row.name,
        "project": row.project,
        "scopes": list(row.scopes),
        "state": row.state(time.time()),
        "created_at": row.created_at,
        "created_by": row.created_by,
        "expires_at": row.expires_at,
        "rotated_at": row.rotated_at,
        "former_until": row.former_until,
        "revoked_at": row.revoked_at,
        "last_used_at": row.last_used_at,
    }
