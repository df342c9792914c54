"""A small picture per scenario: the healthy twin, the bare loop and ours, with what was thrown away in grey."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
from matplotlib import pyplot
from PIL import Image

from benchmarks.recovery.scenarios import Scenario
from benchmarks.recovery.strategies import OURS

HEALTHY, BARE, PROTECTED, ABANDONED, OTHER = "#8a94a6", "#d1495b", "#0b7a75", "#b0b0b0", "#e3c9a8"
SMOOTHING = 0.15


def draw(scenario: Scenario, result: Mapping[str, Any], path: Path) -> None:
    """Write the picture of the first seed as PNG."""
    runs = {run["strategy"]: run for run in result["runs"] if run["seed"] == 1}
    with pyplot.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure, axes = pyplot.subplots(figsize=(9, 4), layout="constrained")
        for name, run in runs.items():
            if name not in ("none", OURS):
                axes.plot(run["steps"], smooth(run["losses"]), color=OTHER, lw=1.0)
        if len(runs) > 2:
            axes.plot([], [], color=OTHER, label="other strategies")
        twin = result["twins"].get("1")
        if twin is not None:
            axes.plot(twin["steps"], smooth(twin["losses"]), color=HEALTHY, lw=2.6, label=_label("healthy", twin))
        if "none" in runs:
            bare = runs["none"]
            axes.plot(bare["steps"], smooth(bare["losses"]), color=BARE, lw=1.6, label=_label("no protection", bare))
        if OURS in runs:
            ours = runs[OURS]
            kept, abandoned = split(ours["steps"], ours["losses"])
            for index, (steps, losses) in enumerate(abandoned):
                axes.plot(steps, smooth(losses), color=ABANDONED, lw=1.4, label="" if index else "abandoned")
            for index, (steps, losses) in enumerate(kept):
                label = "" if index else _label(OURS, ours)
                axes.plot(steps, smooth(losses), color=PROTECTED, lw=1.8, label=label)
        if scenario.onset:
            axes.axvline(scenario.onset, color=BARE, lw=1, ls=":")
        axes.set_yscale("log")
        axes.set_ylim(*_limits(result))
        axes.set_xlabel("step")
        axes.set_ylabel("loss")
        axes.set_title(f"{scenario.name}: {scenario.sentence}", loc="left", weight="bold", size=10)
        axes.legend(frameon=False, fontsize=8, loc="upper right")
        buffer = io.BytesIO()
        figure.savefig(buffer, dpi=80, format="png")
        pyplot.close(figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    # 32 colours do for a few lines, and make a third of the file.
    Image.open(buffer).convert("RGB").quantize(32).save(path, optimize=True)


def _label(name: str, run: Mapping[str, Any]) -> str:
    final = run["final"]
    return f"{name}, given up" if math.isinf(final) else f"{name}, {final:.3f} in the end"


def _limits(result: Mapping[str, Any]) -> tuple[float, float]:
    """From the lowest loss to well above the usual ones: one overflow must not press all else into a line."""
    losses = sorted(
        loss
        for run in (*result["runs"], *result["twins"].values())
        for loss in run["losses"]
        if math.isfinite(loss) and loss > 0
    )
    if not losses:
        return 0.1, 1.0
    return 0.9 * losses[len(losses) // 500], 1.3 * losses[len(losses) * 97 // 100]


def smooth(losses: Sequence[float]) -> list[float]:
    """An exponential mean that begins anew after a loss that is no number, where the line is broken.

    >>> smooth([1.0, float("nan"), 2.0])
    [1.0, nan, 2.0]
    """
    means: list[float] = []
    mean = math.nan
    for loss in losses:
        mean = mean + SMOOTHING * (loss - mean) if math.isfinite(mean) and math.isfinite(loss) else loss
        means.append(mean)
    return means


def split(steps: Sequence[int], losses: Sequence[float]) -> tuple[list[_Piece], list[_Piece]]:
    """What of a training remained and what was thrown away: a new attempt begins where the step does not rise.

    >>> split([0, 1, 2, 1, 2], [5.0, 4.0, 9.0, 4.0, 3.0])
    ([([0], [5.0]), ([1, 2], [4.0, 3.0])], [([1, 2], [4.0, 9.0])])
    """
    cuts = [0, *(at + 1 for at, (here, there) in enumerate(pairwise(steps)) if there <= here), len(steps)]
    kept: list[_Piece] = []
    abandoned: list[_Piece] = []
    goes_back_to: float = math.inf
    for begin, end in reversed(list(pairwise(cuts))):
        middle = begin + sum(step < goes_back_to for step in steps[begin:end])
        if middle > begin:
            kept.insert(0, (list(steps[begin:middle]), list(losses[begin:middle])))
        if middle < end:
            abandoned.insert(0, (list(steps[middle:end]), list(losses[middle:end])))
        goes_back_to = min(goes_back_to, steps[begin]) if begin < end else goes_back_to
    return kept, abandoned


_Piece = tuple[list[int], list[float]]
