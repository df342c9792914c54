"""The demo in one picture: three curves, the abandoned attempt in grey, and the places where it turned."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib

matplotlib.use("agg")
from matplotlib import pyplot
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

if TYPE_CHECKING:
    from matplotlib.axes import Axes

from examples.char_gpt.report import Outcome
from examples.char_gpt.training import TrainingRecord

HEALTHY, UNPROTECTED, PROTECTED, ABANDONED, INK = "#8a94a6", "#d1495b", "#0b7a75", "#b9b9b9", "#30343b"
SMOOTHING = 12
"""Steps of the exponential mean behind a drawn line; the raw loss is drawn faintly behind it."""

Branch = tuple[list[int], list[float], list[float]]
"""Steps, losses and rates of one attempt."""


def branches_of(record: TrainingRecord) -> list[Branch]:
    """The attempts of a training: a new one begins where the step numbers go back.

    >>> branches_of(TrainingRecord(steps=[0, 1, 2, 1, 2], losses=[5.0, 4.0, 9.0, 4.0, 3.0], rates=[0.1] * 5))
    [([0, 1, 2], [5.0, 4.0, 9.0], [0.1, 0.1, 0.1]), ([1, 2], [4.0, 3.0], [0.1, 0.1])]
    """
    cuts = [0, *(at + 1 for at, (here, there) in enumerate(pairwise(record.steps)) if there <= here)]
    cuts.append(len(record.steps))
    return [(record.steps[a:b], record.losses[a:b], record.rates[a:b]) for a, b in pairwise(cuts) if a < b]


def kept_and_abandoned(record: TrainingRecord) -> tuple[list[Branch], list[Branch]]:
    """The history of the model that came out at the end, and the pieces that were thrown away."""
    branches = branches_of(record)
    kept: list[Branch] = []
    abandoned: list[Branch] = []
    goes_back_to = math.inf
    for steps, losses, rates in reversed(branches):
        count = sum(1 for step in steps if step < goes_back_to)
        if count:
            kept.insert(0, (steps[:count], losses[:count], rates[:count]))
        if count < len(steps):
            # From the last kept point on, so that the grey line grows out of the coloured one.
            begin = max(0, count - 1)
            abandoned.insert(0, (steps[begin:], losses[begin:], rates[begin:]))
        goes_back_to = min(goes_back_to, steps[0])
    return kept, abandoned


def draw(outcome: Outcome, path: Path) -> None:
    """Write the picture as PNG."""
    with pyplot.rc_context({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}):
        figure, (losses, rates) = pyplot.subplots(
            2, 1, figsize=(11, 7), sharex=True, height_ratios=[3.2, 1], layout="constrained"
        )
        _draw_losses(losses, outcome)
        _draw_rates(rates, outcome)
        sentence = outcome.fault.sentence
        figure.suptitle(f"{sentence[0].upper()}{sentence[1:]}", x=0.012, ha="left", weight="bold", size=13, color=INK)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=140)
        pyplot.close(figure)


def _draw_losses(axes: Axes, outcome: Outcome) -> None:
    kept, abandoned = kept_and_abandoned(outcome.protected)
    named = (
        ("healthy twin", branches_of(outcome.healthy), HEALTHY, 1.6, outcome.healthy),
        ("the fault, no hook", branches_of(outcome.unprotected), UNPROTECTED, 1.8, outcome.unprotected),
        ("the fault and the hook", kept, PROTECTED, 2.2, outcome.protected),
    )
    for name, branches, colour, width, record in named:
        _draw_branches(axes, branches, colour, width)
        label = f"{name} ({record.final_loss:.3f})"
        axes.plot([], [], color=colour, lw=width, label=label)
        at, values = list(record.evaluations), list(record.evaluations.values())
        axes.plot(at, values, "o", ms=4.5, mfc="white", mec=colour, mew=1.3, zorder=4, clip_on=False)
    for index, (steps, values, _) in enumerate(abandoned):
        label = "abandoned attempts" if len(abandoned) > 1 else "abandoned attempt"
        axes.plot(steps, values, color=ABANDONED, lw=1.6, zorder=2.5, label="" if index else label)
    axes.plot([], [], "o", ms=4.5, mfc="white", mec=INK, mew=1.3, label="validation loss")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, position: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_yticks([1.5, 2, 2.5, 3, 4, 5, 6, 8])
    finite = [
        loss for record in (outcome.healthy, outcome.unprotected) for loss in record.losses if math.isfinite(loss)
    ]
    axes.set_ylim(0.93 * min(finite), 1.12 * max(finite))
    axes.set_ylabel("loss (nats per character)")
    # The legend stands where the title would, and must not squeeze the axes to its own width.
    axes.set_title(" ", size=12)
    legend = axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.012, 0.995),
        ncols=5,
        frameon=False,
        fontsize=9.5,
        handlelength=1.5,
        columnspacing=1.5,
    )
    legend.set_in_layout(False)
    axes.grid(axis="y", which="major", color="#e8e8e8", lw=0.8)
    axes.set_axisbelow(True)
    _mark_turns(axes, outcome)


def _draw_branches(axes: Axes, branches: list[Branch], colour: str, width: float) -> None:
    mean, seen = math.nan, 0
    for steps, losses, _ in branches:
        axes.plot(steps, losses, color=colour, lw=0.7, alpha=0.22, zorder=2)
        smooth = []
        for loss in losses:
            # A plain mean until there are enough for an exponential one, and anew after a loss that is no number.
            seen = seen + 1 if math.isfinite(mean) else 1
            mean = loss if seen == 1 else mean + (loss - mean) / min(seen, SMOOTHING)
            smooth.append(mean)
        axes.plot(steps, smooth, color=colour, lw=width, zorder=3)


def _mark_turns(axes: Axes, outcome: Outcome) -> None:
    axes.axvline(outcome.fault.onset_step, color=UNPROTECTED, lw=1, ls=":", zorder=1)
    axes.annotate(
        f"fault, step {outcome.fault.onset_step}",
        (outcome.fault.onset_step, 0.015),
        xycoords=("data", "axes fraction"),
        xytext=(5, 0),
        textcoords="offset points",
        size=9,
        color=UNPROTECTED,
    )
    for index, one in enumerate(outcome.story.rollbacks):
        # Each rollback's arrow lies a little lower than the last, so that several can be told apart.
        height = 0.62 - 0.09 * (index % 5)
        decided = one.checkpoint_step + one.steps_lost
        axes.annotate(
            "",
            (one.checkpoint_step, height),
            (decided, height),
            xycoords=("data", "axes fraction"),
            arrowprops={"arrowstyle": "-|>", "color": INK, "lw": 1.2, "shrinkA": 0, "shrinkB": 0},
        )
        axes.annotate(
            f"seen at {one.detected_step}, back to {one.checkpoint_step}, rate × {one.lr_scale:.3g}",
            (one.checkpoint_step, height),
            xycoords=("data", "axes fraction"),
            xytext=(-6, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            size=9,
            color=INK,
        )


def _draw_rates(axes: Axes, outcome: Outcome) -> None:
    kept, abandoned = kept_and_abandoned(outcome.protected)
    axes.plot(outcome.unprotected.steps, outcome.unprotected.rates, color=UNPROTECTED, lw=1.6)
    for steps, _, rates in abandoned:
        axes.plot(steps, rates, color=ABANDONED, lw=1.6)
    axes.plot(outcome.healthy.steps, outcome.healthy.rates, color=HEALTHY, lw=3.2, alpha=0.7)
    steps = [step for branch in kept for step in branch[0]]
    axes.plot(steps, [rate for branch in kept for rate in branch[2]], color=PROTECTED, lw=1.8)
    axes.axvline(outcome.fault.onset_step, color=UNPROTECTED, lw=1, ls=":", zorder=1)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, position: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel("applied rate")
    axes.set_xlabel("step")
    axes.set_xlim(0, outcome.recipe.steps)
    axes.grid(axis="y", which="major", color="#e8e8e8", lw=0.8)
    axes.set_axisbelow(True)
