"""What a detector says: kind, severity, since when, the evidence, and one sentence."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

from trainguard.wire.base import Attempt, Sentence, SignalValue, Step, WireModel

FindingKind = Literal[
    "non_finite",
    "loss_spike",
    "divergence",
    "grad_explosion",
    "plateau",
    "grad_vanishing",
    "update_ratio",
    "no_update",
    "oscillation",
    "dead_layers",
    "loss_scale_collapse",
    "overfitting",
    "rank_disagreement",
    "slow_step",
    "silent",
    "learning_rate",
]
"""The closed set of troubles; more detectors than the first five use the later words."""

KINDS: tuple[str, ...] = get_args(FindingKind)

Severity = Literal["info", "warning", "critical"]
"""info: worth a line; warning: worth watching; critical: the run is being lost."""


class Finding(WireModel):
    """One thing that one detector saw. It is made by a pure function of the observations, so it has no id of
    chance: attempt, step, detector and kind name it."""

    kind: FindingKind
    severity: Severity
    detector: Annotated[str, Field(min_length=1, max_length=80)]
    attempt: Attempt
    step: Step
    """The step at which it was seen."""
    onset_step: Step
    """The step at which it began, as far as the evidence reaches back; never after ``step``."""
    signal: Annotated[str, Field(max_length=120)] = ""
    value: SignalValue | None = None
    evidence: Annotated[dict[str, SignalValue], Field(max_length=64)] = Field(default_factory=dict)
    """Numbers behind the claim. Common keys, see `trainguard.detectors.panel`: ``loss_before``,
    ``loss_band``, ``learning_rate_before``, ``learning_rate_at``, ``update_ratio_before``, ``update_ratio_at``."""
    message: Sentence
