"""The commands about logs of the past: their options, and how their mistakes are told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from monitor_server.cli import replaying
from monitor_server.cli.telling_replays import tell_replay

Logs = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE…",
        help="Logs, or folders that hold one: CSV, JSON lines, TensorBoard events, wandb offline files, "
        "trainer_state.json, Lightning's metrics.csv; packed by gzip or not.",
        show_default=False,
    ),
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column", metavar="SIGNAL=NAME", help="Name a column: loss=train/ce, step=iter. The rest is guessed."
    ),
]


def replay_logs(
    files: Logs,
    html: Annotated[
        Path | None, typer.Option(metavar="OUT", dir_okay=False, help="Write a report as one HTML file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per finding and line.")] = False,
    sensitivity: Annotated[
        str, typer.Option(metavar="low|normal|high", help="How little is enough for an alarm.")
    ] = "normal",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="DETECTOR.OPTION=VALUE", help="Set a threshold of a detector: loss_spike.z=9."),
    ] = None,
    columns: Columns = None,
    checkpoint_every: Annotated[
        int, typer.Option(min=1, help="Steps between the checkpoints that the run is taken to have had.")
    ] = 200,
) -> None:
    """Judge past logs: what trainguard would have found in them, and what it would have done."""
    try:
        chosen = replaying.settings_of(sensitivity, settings or (), checkpoint_every)
        named = replaying.columns_named(columns or ())
    except replaying.WrongOption as error:
        _say_wrong(str(error))
        raise typer.Exit(2) from None
    unreadable = False

    def complain(error: Exception) -> None:
        nonlocal unreadable
        unreadable = True
        _say_wrong(str(error))

    console = Console()
    several = len(files) > 1
    judged = []
    for run in replaying.read_runs(files, named, complain):
        result = replaying.judged(run, chosen)
        if html is not None:
            judged.append((result, replaying.alternatives(result)))
        if as_json:
            replaying.print_findings(result, with_file=several)
        else:
            tell_replay(console, result)
    if html is not None and judged:
        try:
            replaying.write_report(html, judged)
        except OSError as error:
            unreadable = True
            _say_wrong(f"{html} cannot be written ({error.strerror or error}); name another place with --html")
        else:
            Console(stderr=True).print(f"The report is in {escape(str(html))}", soft_wrap=True, highlight=False)
    if unreadable:
        raise typer.Exit(1)


def _say_wrong(sentence: str) -> None:
    Console(stderr=True).print(f"[red]trainguard:[/] {escape(sentence)}", soft_wrap=True, highlight=False)


def add_past_log_commands(program: typer.Typer) -> None:
    """Add the commands to the program."""
    program.command("replay")(replay_logs)
