"""Scenarios in a process of their own: their healthy twins, and every strategy under their fault.

``python -m benchmarks.recovery.one NAME,NAME FOLDER SEEDS [STRATEGY]`` prints each result as a line of JSON. What does
not depend on our code (the healthy twins, and the other strategies) is kept in the folder and trained once.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.recovery.ranks import train_on_ranks
from benchmarks.recovery.scenarios import NO_FAULT, Scenario, named
from benchmarks.recovery.strategies import OURS, STRATEGIES
from benchmarks.recovery.training import Record, train


def run(scenario: Scenario, folder: Path, seeds: int, only: str = "") -> dict[str, Any]:
    """Our strategy under every seed, the others under the first."""
    result: dict[str, Any] = {"scenario": scenario.name, "twins": {}, "runs": []}
    # Two processes on two cores take their time: there one seed has to do, and nobody but us and nothing.
    seeds = 1 if scenario.on_ranks else seeds
    for seed in range(1, seeds + 1):
        if scenario.kind == "recoverable":
            result["twins"][seed] = twin(scenario, seed, folder)
        for strategy in STRATEGIES:
            # A harmless change needs a bare run under every seed, to see that ours has the same weights.
            everywhere = strategy == OURS or (scenario.kind == "harmless" and strategy == "none")
            if (seed > 1 and not everywhere) or only not in ("", strategy):
                continue
            if (scenario.kind != "recoverable" or scenario.on_ranks) and strategy not in ("none", OURS):
                continue  # whether a fault is cured is asked of all, whether nothing was done of ours
            document = faulty(scenario, strategy, seed, folder)
            result["runs"].append({"strategy": strategy, "seed": seed, **document})
    return result


def faulty(scenario: Scenario, strategy: str, seed: int, folder: Path) -> dict[str, Any]:
    """The scenario's training under its fault."""

    def made() -> Record:
        if scenario.on_ranks:
            return train_on_ranks(scenario.name, seed=seed, strategy=strategy, is_healthy=False)
        return train(
            scenario.workload,
            seed=seed,
            strategy=strategy,
            fault=scenario.fault,
            recipe_factor=scenario.recipe_factor,
            in_memory=seed > 1,
        )

    if strategy == OURS:
        return made().as_json()
    if scenario.fault is NO_FAULT and scenario.kind == "harmless" and strategy == "none":
        return twin(scenario, seed, folder)
    return _kept(folder / f"{scenario.name}-{strategy.replace(' ', '-')}-{seed}.json", made)


def twin(scenario: Scenario, seed: int, folder: Path) -> dict[str, Any]:
    """The healthy twin."""

    def made() -> Record:
        if scenario.on_ranks:
            return train_on_ranks(scenario.name, seed=seed, strategy=scenario.twin, is_healthy=True)
        return train(scenario.workload, seed=seed, strategy=scenario.twin, recipe_factor=scenario.recipe_factor)

    on, rule = "ranks" if scenario.on_ranks else "", "" if scenario.twin == "none" else scenario.twin.replace(" ", "-")
    words = (scenario.workload, on, scenario.recipe, rule, str(seed))
    return _kept(folder / f"healthy-{'-'.join(word for word in words if word)}.json", made)


def _kept(path: Path, made: Callable[[], Record]) -> dict[str, Any]:
    if not path.exists():
        path.with_suffix(".part").write_text(json.dumps(made().as_json()))
        path.with_suffix(".part").replace(path)
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def main(names: str, folder: str, seeds: str, only: str = "") -> None:
    # What the hook logs of its remedies is in the account already.
    logging.getLogger("trainguard").setLevel(logging.CRITICAL)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for name in names.split(","):
        print(json.dumps(run(named(name), Path(folder), int(seeds), only)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
