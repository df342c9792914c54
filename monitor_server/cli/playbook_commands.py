"""`trainguard playbook`: check one's own before a run needs it at 3 a.m., and show what is in force."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from trainguard.playbooks import PlaybookUnreadable, as_yaml, read_playbook, tell_playbook
from trainguard.policy import Playbook

playbook_program = typer.Typer(
    name="playbook",
    help="Check and show playbooks: what is done about which trouble, how strongly, and how often.",
    no_args_is_help=True,
)


@playbook_program.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A YAML file; see docs/recovery.md.")],
) -> None:
    """Read a playbook and say what is wrong with it, line by line. Ends with status 1 where something is."""
    playbook = _read(file)
    treated = [kind for kind, ladder in playbook.ladders.items() if ladder.treatment != "advise"]
    Console().print(
        f"[green]{escape(str(file))} is a playbook:[/] {escape(playbook.name)!r} "
        f"treats {', '.join(treated) or 'nothing'}.",
        soft_wrap=True,
        highlight=False,
    )


@playbook_program.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME|FILE", help="default, safe, or a YAML file.")] = "default",
    in_yaml: Annotated[bool, typer.Option("--yaml", help="As YAML with every value, to begin your own from.")] = False,
) -> None:
    """Say in plain words what a playbook does."""
    built_in = {"default": Playbook.default, "safe": Playbook.safe}.get(name)
    playbook = built_in() if built_in and not os.path.exists(name) else _read(Path(name))
    if in_yaml:
        typer.echo(as_yaml(playbook), nl=False)
        return
    for line in tell_playbook(playbook):
        typer.echo(line)


def _read(file: Path) -> Playbook:
    try:
        return read_playbook(file)
    except PlaybookUnreadable as error:
        for line in str(error).splitlines():
            Console(stderr=True).print(f"[red]trainguard:[/] {escape(line)}", soft_wrap=True, highlight=False)
        raise typer.Exit(1) from None
