"""What counts as recovered, as touched and as lost: the same measure for every strategy."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

TOLERANCE = 0.03
"""Of the healthy twin's validation loss."""


@dataclass(frozen=True)
class Judged:
    """One training under one strategy."""

    scenario: str
    strategy: str
    seed: int
    final: float
    healthy: float
    """The validation loss of the healthy twin; NaN where there is none."""
    limit: float
    """What the validation loss may be at most."""
    is_recovered: bool
    is_touched: bool
    steps_made: int
    steps_lost: int
    nonfinite_updates: int
    updates_skipped: int
    lost_per_incident: tuple[int, ...]
    """Steps lost by each incident that was treated."""
    deeds: tuple[str, ...]
    gave_up: str


def limit_of(twins: Sequence[float], tolerance: float = TOLERANCE) -> float:
    """The validation loss up to which a run counts as recovered; the first twin has the run's own seed.

    Within 3 % of that twin, or as bad as the worst healthy twin of another seed, whichever is wider.

    >>> limit_of([2.0, 1.9, 2.02]), limit_of([2.0, 1.9, 2.2])
    (2.06, 2.2)
    """
    return max(twins[0] * (1 + tolerance), *twins)


def judge(scenario: str, kind: str, result: Mapping[str, Any], steps: int) -> list[Judged]:
    """Every training of a scenario's result (`benchmarks.recovery.one`); ``steps`` is the budget."""
    bare = {run["seed"]: run for run in result["runs"] if run["strategy"] == "none"}
    return [_judged(scenario, kind, result, run, bare, steps) for run in result["runs"]]


def _judged(
    scenario: str,
    kind: str,
    result: Mapping[str, Any],
    run: Mapping[str, Any],
    bare: Mapping[int, Mapping[str, Any]],
    steps: int,
) -> Judged:
    seed = str(run["seed"])
    twins = [one["final"] for key, one in sorted(result["twins"].items(), key=lambda entry: entry[0] != seed)]
    limit = limit_of(twins) if twins else math.nan
    account = run["account"]
    lost = sum(max(0, deed["step"] + 1 - deed["next_step"]) for deed in account["deeds"])
    in_budget = len(run["steps"]) <= steps + lost
    same_weights = run["seed"] in bare and run["checksum"] == bare[run["seed"]]["checksum"]
    return Judged(
        scenario=scenario,
        strategy=run["strategy"],
        seed=run["seed"],
        final=run["final"],
        healthy=twins[0] if twins else math.nan,
        limit=limit,
        is_recovered=kind == "recoverable" and in_budget and not account["gave_up"] and run["final"] <= limit,
        # Watching changes nothing: where nothing was done, the weights are those of the bare run, bit for bit.
        is_touched=bool(account["deeds"] or account["gave_up"]) or not same_weights,
        steps_made=len(run["steps"]),
        steps_lost=lost,
        nonfinite_updates=run["nonfinite_updates"],
        updates_skipped=account["updates_skipped"],
        lost_per_incident=tuple(one["steps_lost"] for one in account["incidents"] if one["rung"]),
        deeds=tuple(f"step {deed['step']}: {deed['words']}" for deed in account["deeds"]),
        # A folder of this machine is nobody's business.
        gave_up=re.sub(r"'[^']*/(halted-[^/']+)'", r"'\1'", account["gave_up"]),
    )


@dataclass(frozen=True)
class Standing:
    """A strategy over all scenarios."""

    strategy: str
    recovered: int
    recoverable: int
    touched: int
    harmless: int
    nonfinite_updates: int
    failures: tuple[str, ...] = field(default=())
    """Scenario and seed of each recoverable fault that was not recovered."""
    lost_per_incident: tuple[int, ...] = ()

    @property
    def share(self) -> float:
        return self.recovered / self.recoverable if self.recoverable else math.nan

    @property
    def median_lost(self) -> float:
        return float(median(self.lost_per_incident)) if self.lost_per_incident else math.nan


def standing(strategy: str, judged: Sequence[Judged], kinds: Mapping[str, str]) -> Standing:
    """Add up; ``kinds`` says of what kind each scenario is."""
    own = [one for one in judged if one.strategy == strategy]
    recoverable = [one for one in own if kinds[one.scenario] == "recoverable"]
    harmless = [one for one in own if kinds[one.scenario] == "harmless"]
    return Standing(
        strategy=strategy,
        recovered=sum(one.is_recovered for one in recoverable),
        recoverable=len(recoverable),
        touched=sum(one.is_touched for one in harmless),
        harmless=len(harmless),
        nonfinite_updates=sum(one.nonfinite_updates for one in own),
        failures=tuple(f"{one.scenario}, seed {one.seed}" for one in recoverable if not one.is_recovered),
        lost_per_incident=tuple(lost for one in recoverable for lost in one.lost_per_incident),
    )
