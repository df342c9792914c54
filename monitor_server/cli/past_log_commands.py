"""The commands about logs of the past: their options, and how their mistakes are told."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:  # every other command, the service's start above all, would wait for it
    from trainguard.replay import Settings

Logs = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE…",
        help="Logs, or folders that hold one: CSV, JSON lines, TensorBoard events, wandb offline files, "
        "trainer_state.json, Lightning's metrics.csv; packed by gzip or not. - is standard input.",
        show_default=False,
    ),
]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column", metavar="SIGNAL=NAME", help="Name a column: loss=train/ce, step=iter. The rest is guessed."
    ),
]


Sensitivity = Annotated[str, typer.Option(metavar="low|normal|high", help="How little is enough for an alarm.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="DETECTOR.OPTION=VALUE", help="Set a threshold of a detector: loss_spike.z=9."),
]


def replay_logs(
    files: Logs,
    html: Annotated[
        Path | None, typer.Option(metavar="OUT", dir_okay=False, help="Write a report as one HTML file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per finding and line.")] = False,
    sensitivity: Sensitivity = "normal",
    settings: Set = None,
    columns: Columns = None,
    checkpoint_every: Annotated[
        int | None,
        typer.Option(
            min=1, help="Steps between the checkpoints that the run is taken to have had. [dim]Default: 200[/]"
        ),
    ] = None,
) -> None:
    """Judge past logs: what trainguard would have found in them, and what it would have done."""
    from monitor_server.cli import replaying
    from monitor_server.cli.telling_replays import tell_replay

    chosen, named = _chosen(sensitivity, settings, columns, checkpoint_every)
    complaints = _Complaints()
    console = Console()
    several = len(files) > 1
    judged = []
    for run in replaying.read_runs(files, named, complaints.add):
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
            complaints.were_made = True
            _say_wrong(f"{html} cannot be written ({error.strerror or error}); name another place with --html")
        else:
            Console(stderr=True).print(f"The report is in {escape(str(html))}", soft_wrap=True, highlight=False)
    if complaints.were_made:
        raise typer.Exit(1)


def tune(
    files: Logs,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    are_healthy: Annotated[
        bool, typer.Option("--healthy", help="Nothing in these runs was trouble: every alarm came to nothing.")
    ] = False,
    sensitivity: Sensitivity = "normal",
    settings: Set = None,
    columns: Columns = None,
) -> None:
    """Propose thresholds from your own past runs: quieter where alarms came to nothing, never deaf to what mattered."""
    from monitor_server.cli import replaying
    from monitor_server.cli.telling_tuning import print_tuning, tell_tuning

    chosen, named = _chosen(sensitivity, settings, columns, None)
    complaints = _Complaints()
    runs = list(replaying.read_runs(files, named, complaints.add))
    if runs:
        with Console(stderr=True).status("…") as status:
            tuning = replaying.tuned(runs, chosen, are_healthy=are_healthy, progress=status.update)
        print_tuning(tuning) if as_json else tell_tuning(Console(), tuning)
    if complaints.were_made:
        raise typer.Exit(1)


class _Complaints:
    """Tells what is wrong with single files, and remembers that something was."""

    were_made = False

    def add(self, error: Exception) -> None:
        self.were_made = True
        _say_wrong(str(error))


def _chosen(
    sensitivity: str, settings: list[str] | None, columns: list[str] | None, checkpoint_every: int | None
) -> tuple[Settings, dict[str, str]]:
    from monitor_server.cli import replaying
    from trainguard.replay.replaying import CHECKPOINT_EVERY

    try:
        chosen = replaying.settings_of(sensitivity, settings or (), checkpoint_every or CHECKPOINT_EVERY)
        return chosen, replaying.columns_named(columns or ())
    except replaying.WrongOption as error:
        _say_wrong(str(error))
        raise typer.Exit(2) from None


def _say_wrong(sentence: str) -> None:
    Console(stderr=True).print(f"[red]trainguard:[/] {escape(sentence)}", soft_wrap=True, highlight=False)


def add_past_log_commands(program: typer.Typer) -> None:
    """Add the commands to the program."""
    program.command("replay")(replay_logs)
    program.command("tune")(tune)
