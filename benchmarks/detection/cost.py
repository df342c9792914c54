"""What the panel costs: time per observation, and memory per run, with every detector and every default signal."""

from __future__ import annotations

import gc
import gzip
import json
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import process_time

from trainguard.detectors import Panel
from trainguard.wire import Observation

REPEATS = 15
LONG_RUN = 5_000
"""Observations after which every window is full."""


def read_signals(folder: Path) -> dict[str, list[Observation]]:
    """Healthy trainings with all that the hook reads, by name, as `record_signals` wrote them."""
    return {path.name.removesuffix(".jsonl.gz"): _observations(path) for path in sorted(folder.glob("*.jsonl.gz"))}


def _observations(path: Path) -> list[Observation]:
    with gzip.open(path, "rt") as file:
        rows = [json.loads(line) for line in file]
    return [Observation(0, row["step"], 0.0, row["signals"]) for row in rows]


def microseconds_per_observation(observations: Sequence[Observation]) -> float:
    """Processor time of one ``Panel.update``, the least mean of several passes: others share the machine."""
    passes = []
    for _ in range(REPEATS):
        panel = Panel()
        began = process_time()
        for observation in observations:
            panel.update(observation)
        passes.append((process_time() - began) / len(observations))
    return 1e6 * min(passes)


def kilobytes_per_run(observations: Sequence[Observation]) -> float:
    """What a panel holds on to after a long run."""
    stride = observations[-1].step + 1

    def watched() -> Panel:
        panel = Panel()
        for index in range(LONG_RUN):
            lap, place = divmod(index, len(observations))
            point = observations[place]
            # Numbers of its own for every step, as they come off the wire.
            signals = {name: value * (1.0 + 1e-9 * (lap + 1)) for name, value in point.signals.items()}
            panel.update(replace(point, step=point.step + lap * stride, signals=signals))
        return panel

    watched()
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    panel = watched()
    gc.collect()
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    del panel
    return held / 1024
