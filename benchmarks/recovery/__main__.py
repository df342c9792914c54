"""Command line of the recovery benchmark: a process for the scenarios of each workload, one after the other."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import torch

from benchmarks.recovery.pictures import draw
from benchmarks.recovery.report import as_markdown, facts
from benchmarks.recovery.scenarios import SCENARIOS, Scenario, named
from benchmarks.recovery.scoring import Judged, judge
from benchmarks.recovery.strategies import OURS
from benchmarks.recovery.workloads import WORKLOADS

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = REPOSITORY / "benchmarks" / "results"
PART_SECONDS = 3_600.0
NOT_MEASURED = {"missing": "not measured"}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recovery", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a third of the scenarios and one seed, within 5 minutes")
    parser.add_argument("--only", help="comma-separated scenarios to train anew; the rest stays as it was written")
    parser.add_argument("--seeds", type=int, help="of our strategy (default 3, quick 1)")
    parser.add_argument("--workers", type=int, default=1, help="workloads that are trained at once")
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

    def write(timing: dict[str, Any], receipt: dict[str, Any]) -> str:
        machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}"
        minutes = (time.monotonic() - began) / 60
        report = facts(judged, former=written, timing=timing, receipt=receipt, machine=machine, minutes=minutes)
        text = as_markdown(report)
        if results is not None:
            results.mkdir(parents=True, exist_ok=True)
            (results / "recovery.json").write_text(json.dumps(report, indent=1) + "\n")
            (results / "recovery.md").write_text(text)
        return text

    timing, receipt = written.get("timing", NOT_MEASURED), written.get("receipt", NOT_MEASURED)
    with (
        tempfile.TemporaryDirectory(prefix="bench-recovery-") as temporary,
        ThreadPoolExecutor(options.workers) as pool,
    ):
        folder = str(options.work or temporary)
        groups = [[one for one in chosen if one.workload == workload] for workload in WORKLOADS]
        finished: Queue[dict[str, Any]] = Queue()
        jobs = [pool.submit(_train, group, folder, seeds, finished) for group in groups if group]
        while not (all(job.done() for job in jobs) and finished.empty()):
            try:
                result = finished.get(timeout=1.0)
            except Empty:
                continue
            scenario = named(result["scenario"])
            own = judge(scenario.name, scenario.kind, result, WORKLOADS[scenario.workload].steps)
            judged += own
            ours = [one for one in own if one.strategy == OURS]
            print(f"{scenario.name}: {'; '.join(_in_short(one) for one in ours)}", flush=True)
            if results is not None:
                draw(scenario, result, results / "recovery" / f"{scenario.name}.png")
            write(timing, receipt)  # an hour's work is not lost for a machine that goes down in its last minute
    if not options.only:
        timing = _part("benchmarks.recovery.timing", *(["quick"] if options.quick else []))
        receipt = _part("benchmarks.recovery.receipt", "5" if options.quick else "20")
    print(write(timing, receipt))


def _in_short(one: Judged) -> str:
    ending = "given up" if one.gave_up else f"{one.final:.4g} (at most {one.limit:.4g})"
    return f"seed {one.seed} {ending}, {len(one.deeds)} deeds"


def _train(scenarios: Sequence[Scenario], folder: str, seeds: int, finished: Queue[dict[str, Any]]) -> None:
    """The result of each scenario, all by one process; complains of those that there are none of."""
    names = [scenario.name for scenario in scenarios]
    command = [sys.executable, "-m", "benchmarks.recovery.one", ",".join(names), folder, str(seeds)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):
                result: dict[str, Any] = json.loads(line)
                names.remove(result["scenario"])
                finished.put(result)
    if names:
        print(f"no result of {', '.join(names)}: see above", file=sys.stderr)


def _part(module: str, *arguments: str) -> dict[str, Any]:
    """What a part printed last, which is JSON; or why there is nothing."""
    try:
        made = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=REPOSITORY,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=PART_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return {"missing": f"it took longer than {PART_SECONDS:.0f} s"}
    for line in reversed(made.stdout.splitlines()):
        if line.startswith("{"):
            result: dict[str, Any] = json.loads(line)
            return result
    return {"missing": (made.stderr.strip().splitlines() or ["it printed nothing"])[-1]}


if __name__ == "__main__":
    main()
