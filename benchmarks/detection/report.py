"""The results as a page to read and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.detection.faults import FAULTS
from benchmarks.detection.measure import Report, Standing
from benchmarks.detection.scoring import Score

_HEAD = """# Detection

Made by `python -m benchmarks.detection`: {curves} labelled curves of real runs with {points:,} points, and faults of
known onset injected into the healthy ones. All rules see the same points and are scored alike (by
`benchmarks/detection/scoring.py`): recall is the mean over groups of runs of the mean over curves; a finding from 3
points before an event to 10 after it counts; findings within 50 points are one alarm; findings of severity info,
which call nobody, are not counted. Only losses and gradient norms were recorded, so the other signals play no part.

Mean cost of one `Panel.update` on a recorded training (loss, gradient norm, rate, update ratio): {microseconds:.0f} µs.
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

Found within 40 points of the onset (a drift: before its 600 points end), of {injected} of each; median delay in \
points.

"""


def write_report(report: Report, folder: Path | None) -> str:
    """The page; with ``folder``, also written there as ``detection.md`` and ``detection.json``."""
    page = _page(report)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "detection.md").write_text(page)
        (folder / "detection.json").write_text(json.dumps(_facts(report), indent=1) + "\n")
    return page


def _page(report: Report) -> str:
    parts = [_HEAD.format(curves=report.curves, points=report.points, microseconds=report.microseconds), _REAL]
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
    first = next(iter(report.standings.values()))
    injected = first.faults[FAULTS[0].name].injected
    parts.append(_FAULTS.format(injected=injected))
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
        "microseconds_per_observation": round(report.microseconds, 1),
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
