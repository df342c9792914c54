"""One scenario in a process of its own: its healthy twins, and every strategy under its fault.

``python -m benchmarks.recovery.one NAME FOLDER SEEDS [STRATEGY]`` prints the result as its last line, as JSON. What
does not depend on our code (the healthy twins, and the other strategies) is kept in the folder and trained once.
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

ORDERS = 2
"""Healthy twins with another order of the data, beside the one with the same."""


def run(scenario: Scenario, folder: Path, seeds: int, only: str = "") -> dict[str, Any]:
    """Our strategy under every seed, the others under the first."""
    result: dict[str, Any] = {"scenario": scenario.name, "twins": {}, "runs": []}
    # Two processes on two cores take their time: there one seed has to do, and nobody but us and nothing.
    seeds = 1 if scenario.on_ranks else seeds
    for seed in range(1, seeds + 1):
        if scenario.kind == "recoverable":
            orders = [seed + 100 * other for other in range(1 if scenario.on_ranks else ORDERS + 1)]
            result["twins"][seed] = [twin(scenario, seed, order, folder) for order in orders]
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
            return train_on_ranks(scenario.name, seed=seed, order=seed, strategy=strategy, is_healthy=False)
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
        return twin(scenario, seed, seed, folder)
    return _kept(folder / f"{scenario.name}-{strategy.replace(' ', '-')}-{seed}.json", made)


def twin(scenario: Scenario, seed: int, order: int, folder: Path) -> dict[str, Any]:
    """The healthy twin."""

    def made() -> Record:
        if scenario.on_ranks:
            return train_on_ranks(scenario.name, seed=seed, order=order, strategy=scenario.twin, is_healthy=True)
        return train(
            scenario.workload, seed=seed, order=order, strategy=scenario.twin, recipe_factor=scenario.recipe_factor
        )

    on, rule = "ranks" if scenario.on_ranks else "", "" if scenario.twin == "none" else scenario.twin.replace(" ", "-")
    words = (scenario.workload, on, scenario.recipe, rule, str(seed), str(order))
    return _kept(folder / f"healthy-{'-'.join(word for word in words if word)}.json", made)


def _kept(path: Path, made: Callable[[], Record]) -> dict[str, Any]:
    if not path.exists():
        path.with_suffix(".part").write_text(json.dumps(made().as_json()))
        path.with_suffix(".part").replace(path)
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def main(name: str, folder: str, seeds: str, only: str = "") -> None:
    # What the hook logs of its remedies is in the account already.
    logging.getLogger("trainguard").setLevel(logging.CRITICAL)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    print(json.dumps(run(named(name), Path(folder), int(seeds), only)))


if __name__ == "__main__":
    main(*sys.argv[1:])
