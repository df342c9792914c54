"""One logger in this process: what each call costs its caller, at full speed and at 1,000 steps a second."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.hook.loggers import LOGGERS

PERIOD_SECONDS = 0.001


def main(name: str, steps: int) -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        log, close = LOGGERS[name](Path(folder))
        for step in range(50):
            log(step, _values(step))
        free = _costs(log, 50, min(steps, 2_000), period=0.0)
        time.sleep(1.0)  # what piled up is worked off
        paced = _costs(log, 10_000, steps, period=PERIOD_SECONDS)
        lost = close()
    print(json.dumps({"free": _summary(free), "paced": _summary(paced), "lost": lost}))


def _values(step: int) -> dict[str, float]:
    return {"loss": 2.0 + step % 7 * 0.01, "grad_norm": 1.0 + step % 5 * 0.01, "val": 0.5, "temperature": 0.25}


def _costs(log: object, first: int, steps: int, period: float) -> list[float]:
    costs = []
    due = time.perf_counter()
    for step in range(first, first + steps):
        values = _values(step)
        began = time.perf_counter_ns()
        log(step, values)  # type: ignore[operator]
        costs.append((time.perf_counter_ns() - began) / 1_000)
        due += period
        while time.perf_counter() < due:
            time.sleep(0)  # the training's own work, which lets go of the interpreter as torch does
    return costs


def _summary(costs: list[float]) -> dict[str, float]:
    ordered = sorted(costs)
    return {
        "median_us": ordered[len(ordered) // 2],
        "mean_us": sum(ordered) / len(ordered),
        "p99_us": ordered[len(ordered) * 99 // 100],
        "max_us": ordered[-1],
    }


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
