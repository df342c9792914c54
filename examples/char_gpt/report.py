"""The end of the demo in facts: a verdict that can fail, a report as JSON, and a table for people."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from examples.char_gpt.faults import Fault
from examples.char_gpt.story import RollbackFact, Story
from examples.char_gpt.training import Recipe, TrainingRecord

RECOVERED_WITHIN = 1.10
"""A recovered run ends within 10 % of its healthy twin."""

RUINED_BEYOND = 1.30
"""The fault must have mattered: left alone, the run ends at least 30 % worse, or not finite."""

NEARER_BY = 0.5
"""Where data is bad, the twin saw other data: the rescued run must close at least half of the gap."""


@dataclass(frozen=True)
class Outcome:
    """The three trainings, what the service says of the third, and how long it all took."""

    fault: Fault
    recipe: Recipe
    healthy: TrainingRecord
    unprotected: TrainingRecord
    protected: TrainingRecord
    story: Story
    seconds: float


@dataclass(frozen=True)
class Verdict:
    """Whether the protected run really recovered, and why, in a sentence."""

    recovered: bool
    sentence: str


def judge(scenario: str, *, healthy: float, unprotected: float, protected: float, rollbacks: int) -> Verdict:
    """Compare final validation losses (nats per character).

    >>> judge("lr-bug", healthy=1.7, unprotected=2.5, protected=1.75, rollbacks=1).recovered
    True
    >>> judge("lr-bug", healthy=1.7, unprotected=1.8, protected=1.75, rollbacks=1).sentence
    'Proves nothing: the unprotected run ended 5.9 % above its healthy twin, so the fault did no harm.'
    """
    if not math.isfinite(healthy) or healthy <= 0:
        return Verdict(False, f"Proves nothing: the healthy twin itself ended at a loss of {healthy}.")
    if scenario == "bad-data":
        return _judge_by_nearness(healthy, unprotected, protected, rollbacks)
    if math.isfinite(unprotected) and unprotected < RUINED_BEYOND * healthy:
        return Verdict(
            False,
            f"Proves nothing: the unprotected run {_ended(unprotected, healthy)}, so the fault did no harm.",
        )
    if not math.isfinite(protected) or protected > RECOVERED_WITHIN * healthy:
        return Verdict(
            False,
            f"Not recovered: the protected run {_ended(protected, healthy)}; at most "
            f"{100 * (RECOVERED_WITHIN - 1):.0f} % would count.",
        )
    return _rescued(healthy, unprotected, protected, rollbacks)


def _judge_by_nearness(healthy: float, unprotected: float, protected: float, rollbacks: int) -> Verdict:
    gap = unprotected - healthy
    if math.isfinite(unprotected) and gap < (RECOVERED_WITHIN - 1) * healthy:
        return Verdict(
            False,
            f"Proves nothing: the unprotected run {_ended(unprotected, healthy)}, so the fault did no harm.",
        )
    if not math.isfinite(protected) or (math.isfinite(gap) and protected - healthy > NEARER_BY * gap):
        return Verdict(
            False,
            f"Not recovered: the protected run {_ended(protected, healthy)}, which is not clearly nearer than "
            f"the unprotected one, which {_ended(unprotected, healthy)}.",
        )
    return _rescued(healthy, unprotected, protected, rollbacks)


def _rescued(healthy: float, unprotected: float, protected: float, rollbacks: int) -> Verdict:
    if not rollbacks:
        return Verdict(False, "Not recovered by us: the run ended well, but the service knows of no rollback.")
    left_alone = _ended(unprotected, healthy)
    return Verdict(
        True, f"Recovered: the protected run {_ended(protected, healthy)}, the unprotected one {left_alone}."
    )


def report_of(scenario: str, outcome: Outcome) -> dict[str, Any]:
    """All facts of the demo, as JSON values; a number that is none is spelt ``"NaN"`` or ``"Infinity"``."""
    healthy, unprotected, protected = outcome.healthy, outcome.unprotected, outcome.protected
    story, fault = outcome.story, outcome.fault
    verdict = judge(
        scenario,
        healthy=healthy.final_loss,
        unprotected=unprotected.final_loss,
        protected=protected.final_loss,
        rollbacks=len(story.rollbacks),
    )
    first = story.rollbacks[0] if story.rollbacks else None
    report: dict[str, Any] = {
        "scenario": scenario,
        "fault": {"onset_step": fault.onset_step, "sentence": fault.sentence},
        "recipe": {"steps": outcome.recipe.steps, "seed": outcome.recipe.seed, "batch_size": outcome.recipe.batch_size},
        "healthy": {"final_loss": healthy.final_loss},
        "unprotected": {"final_loss": unprotected.final_loss},
        "protected": {
            "final_loss": protected.final_loss,
            "recovered": verdict.recovered,
            "verdict": verdict.sentence,
            "halted": protected.halted,
            "state": story.state,
            "attempts": story.attempts,
            "rollbacks": len(story.rollbacks),
            "onset_step": first.onset_step if first else None,
            "detected_step": first.detected_step if first else None,
            "checkpoint_step": first.checkpoint_step if first else None,
            "steps_lost": story.steps_lost,
            "lr_scale": story.lr_scale,
            "same_as_twin_before_fault": _agree_before(fault.onset_step, healthy, protected),
            "decisions": [f"{one['verdict']}: {one['reason']}" for one in story.decisions],
        },
        "rollbacks": [asdict(rollback) for rollback in story.rollbacks],
        "incidents": [
            {
                key: one[key]
                for key in ("kind", "state", "severity", "onset_step", "detected_step", "summary", "outcome")
            }
            for one in story.incidents
        ],
        "seconds": round(outcome.seconds, 1),
    }
    spelt: dict[str, Any] = _spelt(report)
    return spelt


def write_report(report: dict[str, Any], path: Path) -> None:
    """Write the facts where scripts look for them."""
    path.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def tables_of(outcome: Outcome) -> Group:
    """The report for people."""
    parts: list[Any] = [_losses(outcome)]
    if outcome.story.rollbacks:
        parts += ["", _rollbacks(outcome.fault, outcome.story.rollbacks)]
    for index, rollback in enumerate(outcome.story.rollbacks, start=1):
        words = Text.assemble(
            (f"Decision {index}", "bold"), (f" (by the {rollback.decided_by}) ", "dim"), rollback.decision
        )
        parts += ["", Padding(words, (0, 1))]
    for incident in outcome.story.incidents:
        words = Text.assemble((f"{incident['kind']} {incident['state']}", "bold"), " ", incident["outcome"])
        parts += ["", Padding(words, (0, 1))]
    return Group(*parts)


def _losses(outcome: Outcome) -> Table:
    table = Table(title="Final validation loss (nats per character)", title_justify="left", title_style="bold")
    table.add_column("training")
    table.add_column("loss", justify="right")
    table.add_column("against the twin", justify="right")
    twin = outcome.healthy.final_loss
    for name, record, style in (
        ("healthy twin", outcome.healthy, ""),
        ("with the fault, no hook", outcome.unprotected, "red"),
        ("with the fault and the hook", outcome.protected, "green"),
    ):
        against = "" if record is outcome.healthy else f"{100 * (record.final_loss / twin - 1):+.1f} %"
        table.add_row(name, f"{record.final_loss:.4f}", against, style=style)
    return table


def _rollbacks(fault: Fault, rollbacks: tuple[RollbackFact, ...]) -> Table:
    title = f"Rollbacks, as the service tells them (the fault struck at step {fault.onset_step})"
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in ("incident", "onset", "detected", "decided", "checkpoint", "lost", "rate ×"):
        table.add_column(column, justify="left" if column == "incident" else "right", no_wrap=True)
    for one in rollbacks:
        steps = (one.onset_step, one.detected_step, one.decided_step, one.checkpoint_step, one.steps_lost)
        table.add_row(one.incident, *(str(step) for step in steps), f"{one.lr_scale:.4g}")
    return table


def _agree_before(step: int, first: TrainingRecord, second: TrainingRecord) -> bool:
    """Whether watching changed nothing: the same losses, to the last bit, until the fault struck."""
    return first.losses[:step] == second.losses[:step]


def _ended(loss: float, twin: float) -> str:
    if not math.isfinite(loss):
        return f"ended with a loss of {loss}"
    return f"ended {100 * abs(loss / twin - 1):.1f} % {'above' if loss >= twin else 'below'} its healthy twin"


def _spelt(value: Any) -> Any:
    """JSON has no NaN: spell it, as the wire does."""
    if isinstance(value, dict):
        return {key: _spelt(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_spelt(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    return value
