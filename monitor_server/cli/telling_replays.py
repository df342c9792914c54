"""Showing a replay to a person."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from trainguard.replay import PastIncident, PastRun, Replay

SEVERITY_COLOURS = {"critical": "red bold", "warning": "yellow", "info": "dim"}
MOST_FINDINGS = 40
"""Rows shown; the rest is counted, and told by ``--json``."""
HYPOTHESES = 3


def tell_replay(console: Console, result: Replay) -> None:
    """What was read, what would have been found, and what would have been done about it."""
    run = result.run
    console.print(f"[bold]{escape(str(run.path))}[/]: {_points(run)}", highlight=False, soft_wrap=True)
    console.print(f"[dim]{escape(run.format)}; {escape(sources_in_words(run))}[/]", highlight=False, soft_wrap=True)
    for note in run.notes:
        console.print(f"[yellow]note[/] {escape(note)}", highlight=False)
    console.print()
    if not result.findings:
        console.print("Nothing found: this run looks healthy from beginning to end.\n")
        return
    _tell_findings(console, result)
    for incident in result.incidents:
        console.print()
        _tell_incident(console, incident)
    console.print()


def _points(run: PastRun) -> str:
    return f"{len(run):,} points, steps {min(run.steps):,} to {max(run.steps):,}"


def sources_in_words(run: PastRun) -> str:
    """Which column was read as what."""
    read = [
        signal if run.sources[signal] == signal else f"{signal} from '{run.sources[signal]}'"
        for signal in ("step", *run.columns)
        if signal in run.sources
    ]
    return ", ".join(read)


def _tell_findings(console: Console, result: Replay) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("step", "since"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("kind", "severity"):
        table.add_column(heading, no_wrap=True)
    table.add_column("what was seen")
    for finding in result.findings[:MOST_FINDINGS]:
        colour = SEVERITY_COLOURS[finding.severity]
        table.add_row(
            f"{finding.step}",
            f"{finding.onset_step}",
            finding.kind,
            Text(finding.severity, style=colour),
            escape(finding.message),
        )
    console.print(table)
    more = len(result.findings) - MOST_FINDINGS
    if more > 0:
        console.print(f"[dim]… and {more} more; --json tells them all.[/]")


def _tell_incident(console: Console, incident: PastIncident) -> None:
    report = incident.report
    colour = SEVERITY_COLOURS[report.severity]
    console.print(
        f"[{colour}]{report.kind}[/] from step {report.onset_step}, seen at step {report.detected_step}",
        highlight=False,
    )
    for decision in incident.decisions:
        _say(console, f"step {decision.step}: {decision.reason}")
    if incident.ended_step is not None:
        _say(console, f"step {incident.ended_step}: {report.outcome}")
    elif report.state in ("resolved", "escalated"):
        _say(console, f"end of the log: {how_it_ended(incident)}")
    for number, hypothesis in enumerate(report.diagnosis[:HYPOTHESES], start=1):
        because = " ".join(hypothesis.evidence)
        _say(console, f"cause {number} ({hypothesis.support}): {hypothesis.statement} {because}")
        _say(console, f"next: {hypothesis.next_step}", indent=4)


def how_it_ended(incident: PastIncident) -> str:
    """The end of an incident that lasted to the end of the log: nobody decided anything there."""
    if incident.report.state == "resolved":
        return incident.report.outcome
    return "it was never over."


def _say(console: Console, sentence: str, indent: int = 2) -> None:
    console.print(Padding(Text(sentence), (0, 0, 0, indent)))
