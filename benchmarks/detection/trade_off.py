"""Recall against false alarms of every rule, along its threshold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.detection.contestants import OURS, at_strictness
from benchmarks.detection.curves import Curve
from benchmarks.detection.scoring import Score, score

STRICTNESSES = (0.5, 0.7, 1.0, 1.5, 2.5)


@dataclass(frozen=True)
class Setting:
    """One rule at one setting."""

    strictness: float
    recall: float
    false_alarms_per_10k: float


def trade_off(curves: Sequence[Curve], shipped: Mapping[str, Score], names: Iterable[str]) -> dict[str, list[Setting]]:
    """Every rule at every strictness over ``curves``, which are without those of reinforcement learning.

    ``shipped`` has the results at 1 already.
    """
    return {
        name: [
            _setting(strictness, shipped[name] if strictness == 1.0 else _scored(curves, name, strictness))
            for strictness in STRICTNESSES
        ]
        for name in names
    }


def _scored(curves: Sequence[Curve], name: str, strictness: float) -> Score:
    listen = at_strictness(name, strictness)
    return score(curves, {curve.name: listen(curve.observations) for curve in curves})


def _setting(strictness: float, result: Score) -> Setting:
    return Setting(strictness, result.recall, result.false_alarms_per_10k)


def draw(lines: dict[str, list[Setting]], file: Path) -> None:
    """One line per rule, false alarms on a logarithmic axis; a ring marks what its project ships."""
    # matplotlib takes a second to load and only this picture needs it.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6.2), layout="constrained")
    axes = figure.add_subplot()
    styles = ("-", "--", ":")
    for index, (name, settings) in enumerate(lines.items()):
        across = [max(one.false_alarms_per_10k, SMALLEST) for one in settings]
        up = [one.recall for one in settings]
        colour = "black" if name == OURS else f"C{(index - 1) % 10}"
        width = 2.6 if name == OURS else 1.2
        axes.plot(across, up, styles[index // 10 % 3], color=colour, linewidth=width, marker=".", label=name)
        for one, x in zip(settings, across):
            if one.strictness == 1.0:
                axes.plot([x], [one.recall], "o", color=colour, markersize=10, fillstyle="none", markeredgewidth=1.6)
    axes.set_xscale("log")
    axes.set_xlabel(f"false alarms per 10,000 points (less than {SMALLEST} is drawn there)")
    axes.set_ylabel("recall, mean over groups of runs")
    axes.set_ylim(0, 1.02)
    axes.grid(True, alpha=0.3)
    axes.axhline(0.9, color="grey", linewidth=0.8)
    axes.axvline(1.0, color="grey", linewidth=0.8)
    axes.set_title("Spikes, divergences, gradient explosions and NaN on real runs; each rule along its threshold")
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    figure.savefig(file, dpi=110, metadata={"Software": None})


SMALLEST = 0.05
