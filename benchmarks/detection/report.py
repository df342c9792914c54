"""The results as a page to read and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.detection.contestants import OURS
from benchmarks.detection.faults import FAULTS, SLOW_DRIFT, STRONG, WEAK
from benchmarks.detection.measure import Report, Standing
from benchmarks.detection.scoring import Score
from benchmarks.detection.trade_off import STRICTNESSES, draw

WORST_DRIFT = 0.25
"""Share of its best by which the loss may have risen until a slow drift is found."""

_HEAD = """# Detection

Made by `make bench-detection CURVES=…`: {curves} labelled curves of real runs with {points:,} points, and {injected:,}
faults of known onset injected into the healthy ones. All rules see the same points and are scored alike (by
`benchmarks/detection/scoring.py`): recall is the mean over groups of runs of the mean over curves; a finding from 3
points before an event to 10 after it counts; findings within 50 points are one alarm; findings of severity info,
which call nobody, are not counted. Only losses, gradient norms and some rates were recorded, so the detectors of the
other signals have nothing to say here. How the detectors work and where they are weak: `docs/detection.md`.

{goals}
![Recall against false alarms of every rule, along its threshold](detection.png)

Each line is one rule with its threshold scaled from {least:g} to {most:g} times what its project ships, which the ring
marks; up and to the left is better.
"""
_GOALS = """| figure | goal | measured |
|---|---|---|
"""
_QUIET = """
## False alarms on healthy points

{points:,} points: {real:,} of healthy real curves, the rest the same curves with their own noise drawn anew. With 95 %
interval (Poisson).

| rule | alarms | per 10 k points | interval |
|---|---|---|---|
"""
_BANDS = """
## Injected spikes and shifts by their size

| rule | {weak} | {strong} | slow drift |
|---|---|---|---|
"""
_REAL = """
## Real runs

| rule | recall | found | false alarms / 10 k points | median delay, points | RL: false alarms / 10 k |
|---|---|---|---|---|---|
"""
_RECORDED = """
## Real trainings that we spoilt

The example's GPT with a rate 30 times too high, one that grows, slipped targets, a bad batch, an overflow, and four
healthy trainings (`benchmarks/detection/record.py`, curves under `tests/detectors/recorded`).

| rule | found | false alarms | median delay, points |
|---|---|---|---|
"""
_PLATEAUS = """
## Plateaus

| rule | plateaus found | other curves said to be one |
|---|---|---|
"""
_HALVES = """
## The halves

Later thresholds were chosen while looking at one half of the curves only, drawn by a hash of their names. The first
ones were set with all of them in view, so the other half is no blind test of everything.

| rule | recall, tuned | false alarms / 10 k, tuned | recall, held out | false alarms / 10 k, held out |
|---|---|---|---|---|
"""
_FAULTS = """
## Injected faults

Found within 40 points of the onset (a drift: before its 600 points end), of {injected} of each (of {of_norm} of those
of the gradient norm, where it was recorded); median delay in points.

"""


def write_report(report: Report, folder: Path | None) -> str:
    """The page; with ``folder``, also written there: ``detection.md``, ``detection.json`` and ``detection.png``."""
    page = _page(report)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "detection.md").write_text(page)
        (folder / "detection.json").write_text(json.dumps(_facts(report), indent=1) + "\n")
        draw(report.trade_off, folder / "detection.png")
    return page


def goals(report: Report) -> list[tuple[str, str, str]]:
    """Figure, goal and what was measured, of ours as shipped."""
    ours = report.standings[OURS]
    bands = ours.bands()
    drift = ours.faults[SLOW_DRIFT]
    flat, quiet = report.plateaus[OURS], report.quiet[OURS]
    risen = report.drift_risen
    early = sum(share < WORST_DRIFT for share in risen)
    ahead = sorted(lead.points for lead in report.leads if lead.is_announced)
    low, high = quiet.interval
    return [
        ("recall on real runs", "≥ 0.90", f"{ours.real.recall:.2f} ({ours.real.found} of {ours.real.events})"),
        ("false alarms per 10 k points", "≤ 1.0", f"{ours.real.false_alarms_per_10k:.2f}"),
        ("the same on RL", "≤ 5", f"{ours.reinforcement.false_alarms_per_10k:.1f}"),
        ("delay, median", "≤ 1 point", f"{_delay(ours.real.delay)}"),
        ("plateaus found", "≥ 0.8", f"{flat.found} of {flat.events}"),
        (
            "false plateaus per curve",
            "≤ 0.1",
            f"{flat.wrongly / max(flat.others, 1):.3f} ({flat.wrongly} of {flat.others})",
        ),
        (f"injected, {STRONG}", "≥ 0.98", f"{bands[STRONG].share:.3f} of {bands[STRONG].injected}"),
        (f"injected, {WEAK}", "reported", f"{bands[WEAK].share:.3f} of {bands[WEAK].injected}"),
        ("slow drift of +0.004 a step", "≥ 0.9", f"{drift.share:.3f} of {drift.injected}"),
        (
            "slow drift found before the loss is 25 % above its best",
            "≥ 0.9",
            f"{early / drift.injected:.3f} ({early} of {drift.injected}); median {100 * median(risen):.0f} % above"
            if risen
            else "none found",
        ),
        (
            "false alarms on healthy points, per 10 k",
            "reported",
            f"{quiet.per_10k:.2f} [{low:.2f}, {high:.2f}] on {quiet.points:,}",
        ),
        (
            "lead over the loss's peak where the gradient shows it first",
            "≥ 1 point",
            f"median {median(ahead):g} of {len(ahead)} events, {sum(one >= 1 for one in ahead)} of them ≥ 1; "
            f"in the other {len(report.leads) - len(ahead)} found the gradient leaves its band with the loss's peak"
            if ahead
            else "no such event",
        ),
        (
            "processor time of the panel per observation, all signals",
            "≤ 20 µs",
            ", ".join(f"{value:.1f}" for value in report.microseconds.values())
            + f" µs, where a plain loop of a million additions takes {report.loop_milliseconds:.0f} ms",
        ),
        ("memory per run", "≤ 100 KB", f"{report.kilobytes:.0f} KB"),
    ]


def _page(report: Report) -> str:
    table = _GOALS + "".join(f"| {' | '.join(row)} |\n" for row in goals(report))
    first = next(iter(report.standings.values()))
    injected = sum(caught.injected for caught in first.faults.values())
    parts = [
        _HEAD.format(
            curves=report.curves,
            points=report.points,
            injected=injected,
            goals=table,
            least=min(STRICTNESSES),
            most=max(STRICTNESSES),
        ),
        _REAL,
    ]
    for name, one in report.standings.items():
        real = one.real
        parts.append(
            f"| {name} | {real.recall:.2f} | {real.found}/{real.events} | {real.false_alarms_per_10k:.1f} "
            f"| {_delay(real.delay)} | {one.reinforcement.false_alarms_per_10k:.1f} |\n"
        )
    parts.append(_HALVES)
    for name, one in report.standings.items():
        halves = " | ".join(
            f"{half.recall:.2f} | {half.false_alarms_per_10k:.1f}" for half in (one.tuned, one.held_out)
        )
        parts.append(f"| {name} | {halves} |\n")
    parts.append(_RECORDED)
    for name, one in report.standings.items():
        recorded = one.recorded
        parts.append(
            f"| {name} | {recorded.found}/{recorded.events} | {recorded.false_alarms} | {_delay(recorded.delay)} |\n"
        )
    parts.append(_PLATEAUS)
    for name, flat in report.plateaus.items():
        parts.append(f"| {name} | {flat.found}/{flat.events} | {flat.wrongly}/{flat.others} |\n")
    quiet = next(iter(report.quiet.values()))
    parts.append(_QUIET.format(points=quiet.points, real=quiet.real_points))
    for name, calm in report.quiet.items():
        low, high = calm.interval
        parts.append(f"| {name} | {calm.alarms} | {calm.per_10k:.2f} | {low:.2f} to {high:.2f} |\n")
    parts.append(_BANDS.format(weak=WEAK, strong=STRONG))
    for name, one in report.standings.items():
        bands, drift = one.bands(), one.faults[SLOW_DRIFT]
        parts.append(f"| {name} | {bands[WEAK].share:.2f} | {bands[STRONG].share:.2f} | {drift.share:.2f} |\n")
    of_norm = next(first.faults[fault.name].injected for fault in FAULTS if fault.signal == "grad_norm")
    parts.append(_FAULTS.format(injected=first.faults[FAULTS[0].name].injected, of_norm=of_norm))
    parts.append("| rule | " + " | ".join(fault.name for fault in FAULTS) + " |\n")
    parts.append("|---" * (len(FAULTS) + 1) + "|\n")
    for name, one in report.standings.items():
        parts.append(f"| {name} | " + " | ".join(_caught(one, fault.name) for fault in FAULTS) + " |\n")
    return "".join(parts)


def _caught(standing: Standing, fault: str) -> str:
    caught = standing.faults[fault]
    return f"{caught.found} ({_delay(caught.delay)})" if caught.found else "0"


def _delay(delay: float | None) -> str:
    return "–" if delay is None else f"{delay:g}"


def _facts(report: Report) -> dict[str, Any]:
    return {
        "curves": report.curves,
        "points": report.points,
        "goals": [{"figure": figure, "goal": goal, "measured": measured} for figure, goal, measured in goals(report)],
        "microseconds_per_observation": {name: round(value, 1) for name, value in report.microseconds.items()},
        "kilobytes_per_run": round(report.kilobytes, 1),
        "healthy": {
            name: {**asdict(one), "per_10k": round(one.per_10k, 3), "interval": [round(end, 3) for end in one.interval]}
            for name, one in report.quiet.items()
        },
        "leads": [{**asdict(lead), "is_announced": lead.is_announced} for lead in report.leads],
        "drift_risen": [round(share, 4) for share in report.drift_risen],
        "trade_off": {name: [asdict(one) for one in settings] for name, settings in report.trade_off.items()},
        "plateaus": {name: asdict(flat) for name, flat in report.plateaus.items()},
        "rules": {name: _standing(one) for name, one in report.standings.items()},
    }


def _standing(one: Standing) -> dict[str, Any]:
    return {
        "real": _score(one.real),
        "tuned": _score(one.tuned),
        "held_out": _score(one.held_out),
        "reinforcement": _score(one.reinforcement),
        "recorded": _score(one.recorded),
        "bands": {name: {"injected": caught.injected, "found": caught.found} for name, caught in one.bands().items()},
        "faults": {
            name: {"injected": caught.injected, "found": caught.found, "delay": caught.delay}
            for name, caught in one.faults.items()
        },
    }


def _score(one: Score) -> dict[str, Any]:
    return {
        "events": one.events,
        "found": one.found,
        "recall": round(one.recall, 4),
        "false_alarms": one.false_alarms,
        "points": one.points,
        "false_alarms_per_10k": round(one.false_alarms_per_10k, 2),
        "delay": one.delay,
    }
