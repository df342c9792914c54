"""Command line of the recovery benchmark: each scenario in a process of its own, one after the other."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.recovery.pictures import draw
from benchmarks.recovery.report import as_markdown, facts
from benchmarks.recovery.scenarios import SCENARIOS, named
from benchmarks.recovery.scoring import Judged, judge
from benchmarks.recovery.workloads import WORKLOADS

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = REPOSITORY / "benchmarks" / "results"
SCENARIO_SECONDS = 1_800.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recovery", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a third of the scenarios and one seed, within 5 minutes")
    parser.add_argument("--only", help="comma-separated scenarios to train anew; the rest stays as it was written")
    parser.add_argument("--seeds", type=int, help="of our strategy (default 3, quick 1)")
    parser.add_argument("--work", type=Path, help="folder to keep in what our code has no part in (default: none)")
    parser.add_argument("--results", type=Path, help="folder to write to (default: benchmarks/results; quick: none)")
    options = parser.parse_args()
    seeds = options.seeds or (1 if options.quick else 3)
    results = options.results or (None if options.quick else RESULTS)
    chosen = [one for one in SCENARIOS if one.is_quick or not options.quick]
    written: dict[str, Any] = {}
    if options.only:
        chosen = [named(name) for name in options.only.split(",") if name]
        written = json.loads((results / "recovery.json").read_text()) if results is not None else {}
    judged: list[Judged] = []
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bench-recovery-") as temporary:
        folder = str(options.work or temporary)
        for scenario in chosen:
            result = _part("benchmarks.recovery.one", scenario.name, folder, str(seeds))
            if "missing" in result:
                print(f"{scenario.name}: {result['missing']}", file=sys.stderr)
                continue
            own = judge(scenario.name, scenario.kind, result, WORKLOADS[scenario.workload].steps)
            judged += own
            ours = [one for one in own if one.strategy == "trainguard"]
            print(f"{scenario.name}: {'; '.join(_in_short(one) for one in ours)}", flush=True)
            if results is not None:
                draw(scenario, result, results / "recovery" / f"{scenario.name}.png")
    timing, receipt = written.get("timing"), written.get("receipt")
    if not options.only:
        timing = _part("benchmarks.recovery.timing", *(["quick"] if options.quick else []))
        receipt = _part("benchmarks.recovery.receipt", "5" if options.quick else "20")
    report = facts(
        judged,
        former=written,
        timing=timing or {"missing": "not measured"},
        receipt=receipt or {"missing": "not measured"},
        machine=f"{os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}",
        minutes=(time.monotonic() - began) / 60,
    )
    text = as_markdown(report)
    if results is not None:
        results.mkdir(parents=True, exist_ok=True)
        (results / "recovery.json").write_text(json.dumps(report, indent=1) + "\n")
        (results / "recovery.md").write_text(text)
    print(text)


def _in_short(one: Judged) -> str:
    ending = "given up" if one.gave_up else f"{one.final:.4g} (at most {one.limit:.4g})"
    return f"seed {one.seed} {ending}, {len(one.deeds)} deeds"


def _part(module: str, *arguments: str) -> dict[str, Any]:
    """What a part printed last, which is JSON; or why there is nothing."""
    try:
        made = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=REPOSITORY,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=SCENARIO_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return {"missing": f"it took longer than {SCENARIO_SECONDS:.0f} s"}
    for line in reversed(made.stdout.splitlines()):
        if line.startswith("{"):
            result: dict[str, Any] = json.loads(line)
            return result
    return {"missing": (made.stderr.strip().splitlines() or ["it printed nothing"])[-1]}


if __name__ == "__main__":
    main()
