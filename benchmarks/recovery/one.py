"""One scenario in a process of its own: its healthy twins, and every strategy under its fault.

``python -m benchmarks.recovery.one NAME FOLDER SEEDS`` prints the result as its last line, as JSON. Twins are kept in
the folder for the scenarios that come after.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.recovery.scenarios import Scenario, named
from benchmarks.recovery.strategies import OURS, STRATEGIES
from benchmarks.recovery.training import train

ORDERS = 2
"""Healthy twins with another order of the data, beside the one with the same."""


def run(scenario: Scenario, folder: Path, seeds: int, only: str = "") -> dict[str, Any]:
    """Our strategy under every seed, the others under the first."""
    result: dict[str, Any] = {"scenario": scenario.name, "twins": {}, "runs": []}
    for seed in range(1, seeds + 1):
        if scenario.kind == "recoverable":
            result["twins"][seed] = [twin(scenario, seed, seed + 100 * other, folder) for other in range(ORDERS + 1)]
        for strategy in STRATEGIES:
            # A harmless change needs a bare run under every seed, to see that ours has the same weights.
            everywhere = strategy == OURS or (scenario.kind == "harmless" and strategy == "none")
            if (seed > 1 and not everywhere) or only not in ("", strategy):
                continue
            if scenario.kind != "recoverable" and strategy not in ("none", OURS):
                continue  # whether a fault is cured is asked of all, whether nothing was done of ours
            began = time.perf_counter()
            record = train(
                scenario.workload,
                seed=seed,
                strategy=strategy,
                fault=scenario.fault,
                recipe_factor=scenario.recipe_factor,
                in_memory=seed > 1,
            )
            seconds = time.perf_counter() - began
            result["runs"].append({"strategy": strategy, "seed": seed, "seconds": seconds, **record.as_json()})
    return result


def twin(scenario: Scenario, seed: int, order: int, folder: Path) -> dict[str, Any]:
    """The healthy twin, from the folder where it was trained before."""
    name = "-".join(word for word in (scenario.workload, scenario.recipe, str(seed), str(order)) if word)
    path = folder / f"{name}.json"
    if not path.exists():
        record = train(
            scenario.workload, seed=seed, order=order, strategy=scenario.twin, recipe_factor=scenario.recipe_factor
        )
        path.write_text(json.dumps(record.as_json()))
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
