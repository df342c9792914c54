"""Showing proposed thresholds to a person."""

from __future__ import annotations

import json

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from trainguard.replay.replaying import Replay
from trainguard.replay.tuning import Tuning


def tell_tuning(console: Console, tuning: Tuning) -> None:
    """What came to nothing, what is proposed against it, and how to use it."""
    runs = len(tuning.before)
    console.print(
        f"{tuning.points:,} points in {runs} run{'s' if runs != 1 else ''}: {tuning.needed} alarms that mattered, "
        f"{tuning.idle} that came to nothing ({tuning.idle / tuning.points * 10_000:.2g} per 10,000 points).",
        highlight=False,
    )
    if not tuning.proposals:
        console.print("The thresholds fit these runs: nothing to propose.")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("detector", no_wrap=True)
    table.add_column("proposed")
    for heading in ("came to nothing", "mattered"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("why")
    for one in tuning.proposals:
        proposed = ", ".join(f"{name} {one.present[name]:g} → {value:g}" for name, value in one.thresholds.items())
        changed = f"{one.idle_before} → {one.idle_after}" if one.thresholds else f"{one.idle_before}"
        table.add_row(one.detector, proposed or "–", changed, f"{one.needed}", escape(one.reason))
    console.print()
    console.print(table)
    if not tuning.overrides:
        return
    console.print()
    console.print(f"All together: {_total(tuning.before)}; with them {_total(tuning.after)}.", highlight=False)
    console.print()
    console.print("In the trainer:")
    console.print(f"  client_hook.attach(…, detectors={tuning.overrides})", markup=False, soft_wrap=True)
    console.print("To look at them first:")
    options = " ".join(
        f"--set {name}.{threshold}={value:g}"
        for name, thresholds in tuning.overrides.items()
        for threshold, value in thresholds.items()
    )
    console.print(f"  trainguard replay FILE… {options}", markup=False, soft_wrap=True)


def print_tuning(tuning: Tuning) -> None:
    """One JSON document: what to give to ``attach(detectors=…)``, and what speaks for it."""
    said = {
        "points": tuning.points,
        "alarms_that_mattered": tuning.needed,
        "alarms_that_came_to_nothing": tuning.idle,
        "detectors": tuning.overrides,
        "proposals": [
            {
                "detector": one.detector,
                "thresholds": one.thresholds,
                "came_to_nothing_before": one.idle_before,
                "came_to_nothing_after": one.idle_after,
                "mattered": one.needed,
                "reason": one.reason,
            }
            for one in tuning.proposals
        ],
    }
    print(json.dumps(said, indent=2, ensure_ascii=False))


def _total(replays: list[Replay]) -> str:
    alarms = sum(finding.severity != "info" for one in replays for finding in one.findings)
    remedies = sum(incident.would_have_acted is not None for one in replays for incident in one.incidents)
    incidents = sum(len(one.incidents) for one in replays)
    return f"{alarms} alarms, {incidents} incidents, {remedies} remedies"
