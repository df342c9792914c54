"""The command `trainguard`: what a person does from a shell.

`program` holds the commands, `serving` runs the service, `asking` reads from one that runs, `printing` shows it.
Only this file may be imported without the libraries of the extra ``cli``: it says which extra is missing.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_OF_EXTRA_CLI = ("typer", "click", "rich", "yaml")
_OF_EXTRA_SERVER = ("limits", "fastapi", "starlette", "uvicorn", "sqlalchemy", "alembic", "prometheus_client", "jinja2")


def main() -> None:
    """Run the command line; the console script of the distribution."""
    try:
        with without_collections():
            from monitor_server.cli.program import program

        program()
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in (*_OF_EXTRA_CLI, *_OF_EXTRA_SERVER):
            raise
        extra = "cli" if missing in _OF_EXTRA_CLI and sys.argv[1:2] != ["serve"] else "server"
        print(
            f"trainguard: this command needs the package {missing}; run: pip install 'trainguard[{extra}]'",
            file=sys.stderr,
        )
        raise SystemExit(1) from None


@contextmanager
def without_collections() -> Iterator[None]:
    """For imports: what they make stays; to look through it for garbage again and again takes a tenth of a start."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
