"""Command line of the hook's benchmark: each part in a process of its own, then one table of all."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.hook.loggers import LOGGERS
from benchmarks.hook.report import as_markdown
from examples.char_gpt.service import Service, ServiceFailed

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = REPOSITORY / "benchmarks" / "results"
IMPORTS = 7
"""Processes whose median is the time to import."""
PEERS = ("trackio", "wandb", "tensorboard", "mlflow-skinny")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hook", description=__doc__)
    parser.add_argument("--steps", type=int, default=5_000, help="steps at 1,000 a second for each logger")
    parser.add_argument("--rounds", type=int, default=40, help="turns of the GPT trainings")
    parser.add_argument("--observations", type=int, default=100_000, help="of the memory's course")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder to write hook.md and .json to")
    options = parser.parse_args()
    report: dict[str, Any] = {
        "machine": f"{os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}",
        "peers": {name: _version(name) for name in PEERS},
        "callers": _callers(options.steps),
        "steps": _part("benchmarks.hook.step_ratio", str(options.rounds)),
        "footprint": _footprint(options.observations),
    }
    text = as_markdown(report)
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / "hook.json").write_text(json.dumps(report, indent=1) + "\n")
    (options.results / "hook.md").write_text(text)
    print(text)


def _callers(steps: int) -> dict[str, Any]:
    callers: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        service = Service(Path(folder) / "bench.db", Path(folder) / "service.log")
        try:
            service.start()
        except (ServiceFailed, OSError) as error:
            callers["trainguard, with a service"] = {"missing": str(error).splitlines()[0]}
        try:
            for name in LOGGERS:
                if name not in callers:
                    callers[name] = _part(
                        "benchmarks.hook.caller_cost", name, str(steps), BENCH_SERVER=service.url, OMP_NUM_THREADS="1"
                    )
        finally:
            service.stop()
    return callers


def _footprint(observations: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        # The byte code is written by a first run, as it is on anybody's machine.
        cached = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": folder}
        _part("benchmarks.hook.footprint", "10", **cached)
        begun = [_part("benchmarks.hook.footprint", "10", **cached) for _ in range(IMPORTS)]
        report = _part("benchmarks.hook.footprint", str(observations), **cached)
        dead = _part("benchmarks.hook.footprint", str(observations), "http://127.0.0.1:9", **cached)
        for name in ("import_ms", "attach_ms"):
            took = [one[name] for one in begun if name in one]
            report |= {name: statistics.median(took)} if took else {}
        return {**report, "extra_mib_service_dead": dead.get("extra_mib", [])}


def _part(module: str, *arguments: str, **environment: str) -> dict[str, Any]:
    """What a part printed last, which is JSON; or why there is nothing."""
    made = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=1_800,
    )
    for line in reversed(made.stdout.splitlines()):
        if line.startswith("{"):
            result: dict[str, Any] = json.loads(line)
            return result
    return {"missing": (made.stderr.strip().splitlines() or ["it printed nothing"])[-1]}


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    main()
