"""The results as JSON and as a page; the page is made from the JSON alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.recovery.scenarios import SCENARIOS
from benchmarks.recovery.scoring import Judged, standing
from benchmarks.recovery.strategies import OURS, STRATEGIES
from benchmarks.recovery.strategies.ours import Ours

_HEAD = """# Recovery

Made by `make bench-recovery` in {minutes:.0f} minutes: {machine}. Every training is real and small
(`benchmarks/recovery/workloads`); every fault is made in the loop itself (`benchmarks/recovery/faults.py`). No recipe
clips its gradients unless it says so: each strategy adds its own rule to the bare loop and nothing else. Ours is
`attach(mode="act", checkpoint_every={every})` with defaults, synchronous and without a service, on {seeds} seeds (the
first with checkpoints on disk, the others in memory); the other strategies on one.

Recovered: the validation loss is within 3 % of the healthy twin's, or no worse than that of the worst healthy twin of
another seed (other first weights, another order of the data), after the same number of steps, those that a rollback
threw away not counted; and the training was not given up.

## All together

| strategy | faults recovered | share | updates applied with non-finite gradients |
|---|---:|---:|---:|
"""
_FIGURES = """
## Figures

| figure | goal | measured |
|---|---|---|
"""


def facts(
    judged: Sequence[Judged],
    *,
    former: Mapping[str, Any],
    timing: Mapping[str, Any],
    receipt: Mapping[str, Any],
    machine: str,
    minutes: float,
) -> dict[str, Any]:
    """Everything that the page says. ``former`` gives the scenarios that were not trained anew."""
    anew = {one.scenario for one in judged}
    kept = [_judged_of(one) for one in former.get("trainings", []) if one["scenario"] not in anew]
    order = [scenario.name for scenario in SCENARIOS]
    everything = sorted([*kept, *judged], key=lambda one: (order.index(one.scenario), one.seed))
    kinds = {scenario.name: scenario.kind for scenario in SCENARIOS}
    standings = [standing(name, everything, kinds) for name in STRATEGIES]
    return {
        "machine": machine,
        "minutes": round(minutes + former.get("minutes", 0.0), 1),
        "checkpoint_every": Ours.checkpoint_every,
        "seeds": max((one.seed for one in everything), default=0),
        "standings": [
            {**asdict(one), "share": _number(one.share), "median_lost": _number(one.median_lost)} for one in standings
        ],
        "timing": dict(timing),
        "receipt": dict(receipt),
        "trainings": [
            {key: _number(value) if isinstance(value, float) else value for key, value in asdict(one).items()}
            for one in everything
        ],
    }


def _number(value: float) -> float | str:
    """JSON knows neither NaN nor infinity; rounded, so that a page of the same run is the same."""
    return float(f"{value:.5g}") if math.isfinite(value) else str(value)


def _judged_of(document: Mapping[str, Any]) -> Judged:
    floats = {name: float(document[name]) for name in ("final", "healthy", "limit")}
    tuples = {name: tuple(document[name]) for name in ("lost_per_incident", "deeds")}
    return Judged(**{**document, **floats, **tuples})


def as_markdown(report: Mapping[str, Any]) -> str:
    """The page."""
    trainings = [_judged_of(one) for one in report["trainings"]]
    parts = [
        _HEAD.format(
            minutes=report["minutes"],
            machine=report["machine"],
            every=report["checkpoint_every"],
            seeds=report["seeds"],
        )
    ]
    for one in report["standings"]:
        share = f"{100 * float(one['share']):.0f} %" if one["recoverable"] else "–"
        recovered = f"{one['recovered']} of {one['recoverable']}"
        parts.append(f"| {one['strategy']} | {recovered} | {share} | {one['nonfinite_updates']} |\n")
    parts += [_FIGURES, *_figures(report, trainings)]
    parts += ["\n## Faults that can be recovered\n\n", *_recoverable(trainings)]
    parts += ["\n## Nothing to treat\n\n", *_harmless(trainings)]
    parts += ["\n## Beyond help\n\n", *_structural(trainings)]
    parts += ["\n## Where ours fails\n\n", *_failures(report, trainings)]
    return "".join(parts)


def _figures(report: Mapping[str, Any], trainings: Sequence[Judged]) -> list[str]:
    ours = next(one for one in report["standings"] if one["strategy"] == OURS)
    every, timing, receipt = report["checkpoint_every"], report["timing"], report["receipt"]
    rows = [
        ("faults recovered", "≥ 95 %, above every other", f"{ours['recovered']} of {ours['recoverable']}"),
        ("healthy or harmless runs touched", "0", f"{ours['touched']} of {ours['harmless']}"),
        ("updates applied with non-finite gradients", "0", str(ours["nonfinite_updates"])),
        ("steps lost per incident, median", f"≤ 1.5 × {every}", str(ours["median_lost"])),
    ]
    if "missing" in receipt:
        rows.append(("from receipt of a command to its application", "the next boundary", receipt["missing"]))
    else:
        words = f"at most {receipt['most']} steps later, {receipt['commands']} commands"
        rows.append(("from receipt of a command to its application", "the next boundary", words))
    if "missing" in timing:
        rows.append(("time of rollbacks and checkpoints", "", timing["missing"]))
    else:
        for one in timing["rollback"]:
            millions = f"{one['parameters'] / 1e6:.1f} M parameters"
            words = (
                f"{one['steps_time']:.2f} steps' time ({one['rollback_ms']:.0f} ms; a step takes {one['step_ms']:.0f})"
            )
            rows.append((f"rollback from memory, {millions}", "≤ 2 steps' time", words))
        for place, where, goal in (("memory", "in memory", "≤ 1 %"), ("disk", "on disk", "≤ 2 %")):
            one = timing[place]
            words = (
                f"{100 * one['held_up_share']:.2f} % in `observe`, {100 * one['following_share']:+.2f} % in the steps "
                f"that follow ({one['checkpoints']} checkpoints of {one['parameters'] / 1e6:.1f} M parameters)"
            )
            rows.append((f"checkpoints every 100 steps {where}: share of the loop", goal, words))
    halted = [one for one in trainings if one.strategy == OURS and _kind(one) == "structural"]
    words = f"{sum(bool(one.gave_up) for one in halted)} of {len(halted)}"
    rows.append(("structural faults halted with a report", "all", words))
    return [f"| {name} | {goal} | {measured} |\n" for name, goal, measured in rows]


def _kind(one: Judged) -> str:
    return _SCENARIO[one.scenario].kind


_SCENARIO = {scenario.name: scenario for scenario in SCENARIOS}


def _recoverable(trainings: Sequence[Judged]) -> list[str]:
    names = list(STRATEGIES)
    lines = [
        "Validation loss at the end, **bold** where it counts as recovered; ours for each seed. Steps lost: ",
        "by ours. A picture behind every name.\n\n",
        f"| scenario | fault | healthy, at most | {' | '.join(names)} | steps lost |\n",
        "|---" * (len(names) + 4) + "|\n",
    ]
    for scenario in (one for one in SCENARIOS if one.kind == "recoverable"):
        own = [one for one in trainings if one.scenario == scenario.name]
        if not own:
            continue
        first = own[0]
        cells = [" / ".join(_cell(one) for one in own if one.strategy == name) for name in names]
        lost = " / ".join(str(one.steps_lost) for one in own if one.strategy == OURS)
        lines.append(
            f"| [{scenario.name}](recovery/{scenario.name}.png) | {scenario.workload}: {scenario.sentence} "
            f"| {first.healthy:.3f}, {first.limit:.3f} | {' | '.join(cells)} | {lost} |\n"
        )
    return lines


def _cell(one: Judged) -> str:
    words = "given up" if one.gave_up else f"{one.final:.3f}" if one.final < 1000 else f"{one.final:.1e}"
    return f"**{words}**" if one.is_recovered else words


def _harmless(trainings: Sequence[Judged]) -> list[str]:
    lines = [
        "Touched: anything was done, or the weights at the end are not those of the bare loop, bit for bit.\n\n",
        "| scenario | what happens | seeds touched by ours | what was done |\n|---|---|---|---|\n",
    ]
    for scenario in (one for one in SCENARIOS if one.kind == "harmless"):
        own = [one for one in trainings if one.scenario == scenario.name and one.strategy == OURS]
        if not own:
            continue
        touched = [one for one in own if one.is_touched]
        deeds = "; ".join(one.deeds[0] if one.deeds else one.gave_up or "other weights" for one in touched[:1])
        lines.append(
            f"| [{scenario.name}](recovery/{scenario.name}.png) | {scenario.workload}: {scenario.sentence} "
            f"| {len(touched)} of {len(own)} | {deeds} |\n"
        )
    return lines


def _structural(trainings: Sequence[Judged]) -> list[str]:
    lines = ["| scenario | fault | seed | ended after | what the report says |\n|---|---|---|---|---|\n"]
    for one in trainings:
        if one.strategy == OURS and _kind(one) == "structural":
            scenario = _SCENARIO[one.scenario]
            words = one.gave_up or "it was not halted"
            lines.append(
                f"| [{one.scenario}](recovery/{one.scenario}.png) | {scenario.workload}: {scenario.sentence} "
                f"| {one.seed} | {one.steps_made} steps made | {words} |\n"
            )
    return lines


def _failures(report: Mapping[str, Any], trainings: Sequence[Judged]) -> list[str]:
    failed = [one for one in trainings if one.strategy == OURS and _kind(one) == "recoverable" and not one.is_recovered]
    if not failed:
        return ["Nowhere in these scenarios.\n"]
    lines = []
    for one in failed:
        ending = f"given up: {one.gave_up}" if one.gave_up else f"{one.final:.3f} where {one.limit:.3f} would do"
        done = "; ".join(one.deeds) or "nothing was done"
        lines.append(f"- {one.scenario}, seed {one.seed}: {ending}. {done}\n")
    return lines
