"""An incident: findings that belong together, with a life, and what policy must remember of it."""

from __future__ import annotations

from math import prod
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from trainguard.wire import (
    Acknowledgement,
    Command,
    FindingKind,
    IncidentReport,
    LowerLearningRate,
    SignalValue,
    SkipDataWindow,
)
from trainguard.wire.base import Step, UnixTime

FAMILIES: dict[str, tuple[str, ...]] = {
    # A bad step shows itself as a gradient first, then a spike, then NaN: one trouble, one incident.
    "instability": ("non_finite", "loss_spike", "divergence", "grad_explosion", "loss_scale_collapse"),
}
"""Kinds that are faces of one trouble; every other kind is a family of its own."""

GRAVITY: dict[str, int] = {"divergence": 4, "non_finite": 3, "loss_spike": 2, "grad_explosion": 1}
"""Which name an incident bears when several kinds joined it."""


def family_of(kind: str) -> str:
    """The family of a kind of finding.

    >>> family_of("loss_spike"), family_of("plateau")
    ('instability', 'plateau')
    """
    for family, kinds in FAMILIES.items():
        if kind in kinds:
            return family
    return kind


def graver(first: FindingKind, second: FindingKind) -> FindingKind:
    """The kind that names an incident in which both were seen.

    >>> graver("loss_spike", "divergence")
    'divergence'
    """
    return second if GRAVITY.get(second, 0) > GRAVITY.get(first, 0) else first


def _positive(answer: Acknowledgement, name: str) -> float | None:
    value = answer.changes.get(name)
    return float(value) if isinstance(value, int | float) and value > 0 else None


BACK_WITHIN = 2.0
"""Widths of the noise of single losses. A median of eight has less than half of that noise: four widths, once allowed
here, took a loss of 3.2 for healed that had been 2.5, in a run whose rate was 30 times too high."""


class Incident(IncidentReport):
    """What is told of an incident (`IncidentReport`) and the private marks of its life."""

    family: str
    last_finding_step: Step
    failed_step: Step
    loss_before: SignalValue | None = None
    loss_band: SignalValue | None = None
    """Centre and robust width of the loss before the onset: the band to come back to."""
    command_id: UUID | None = None
    """The command on its way while ``recovering``."""
    command_expires_at: UnixTime | None = None
    command_factor: Annotated[float, Field(gt=0)] = 1.0
    """What that command multiplies the rate by."""
    lost: Annotated[tuple[tuple[UnixTime, UnixTime], ...], Field(max_length=32)] = ()
    """Stretches of time that were thrown away, none overlapping."""
    wait_until_step: Step | None = None
    """A warning may heal until this step."""
    decided: str = ""
    """Marks the situation that the latest decision covered, so that it is not decided again and again."""
    fruitless: Annotated[int, Field(ge=0)] = 0
    """Commands of the present rung that were refused or expired."""
    relapses: Annotated[int, Field(ge=0)] = 0
    retries: Annotated[int, Field(ge=0)] = 0
    """Rollbacks to the same checkpoint to get past a longer stretch of bad data."""
    remedied: str = ""
    """The cause whose own remedy is on its way, or was the last."""
    is_retry: bool = False
    """Whether the command on its way is one of those: it climbs no rung."""
    skipped: Annotated[int, Field(ge=0)] = 0
    """Batches that the latest remedy was to pass over."""
    passes_over_data: bool = True
    """Whether the trainer could pass over batches, as far as it has told."""
    proposal_expires_at: UnixTime | None = None
    declined: str = ""
    """Marks the situation in which a person wanted no remedy."""

    @property
    def circumstances(self) -> str:
        """Marks what a decision was made on: while it is the same, the same decision stands."""
        return f"{self.kind}:{self.severity}:{self.attempt}:{self.relapses}"

    def obeying(self, command: Command, sentence: str, now: float, *, is_retry: bool = False) -> Incident:
        """The incident with ``command`` on its way to the trainer."""
        lowerings = [order.factor for order in command.orders if isinstance(order, LowerLearningRate)]
        return self.model_copy(
            update={
                "state": "recovering",
                "updated_at": now,
                "command_id": command.command_id,
                "command_expires_at": command.expires_at,
                "command_factor": prod(lowerings),
                "is_retry": is_retry,
                "skipped": sum(order.batches for order in command.orders if isinstance(order, SkipDataWindow)),
                "decided": "",
                "proposal_expires_at": None,
                "outcome": sentence,
            }
        )

    def treated_by(self, answer: Acknowledgement) -> dict[str, Any]:
        """What the remedy that ``answer`` tells of adds to what was multiplied and limited; fields to change.

        The trainer's own figures count: it may have been ordered by another hand, or a tighter limit been there.
        """
        changes: dict[str, Any] = {}
        before, after = _positive(answer, "lr_scale_before"), _positive(answer, "lr_scale")
        if before is not None and after is not None:
            changes["rate_factor"] = self.rate_factor * after / before
        limit, former = _positive(answer, "clip_norm"), _positive(answer, "clip_norm_before")
        if limit is not None and limit != former:
            changes["clip_norm"] = limit
            changes["clip_norm_before"] = former if self.clip_norm is None else self.clip_norm_before
        return changes

    def completed_by(self, report: IncidentReport) -> Incident:
        """The incident with what the other brain's story of it tells of its remedies and is not known here."""
        changes: dict[str, Any] = {}
        if self.rate_factor == 1.0 and report.rate_factor != 1.0:
            changes["rate_factor"] = report.rate_factor
        if self.clip_norm is None and report.clip_norm is not None:
            changes |= {"clip_norm": report.clip_norm, "clip_norm_before": report.clip_norm_before}
        if self.cause == "unknown" and report.cause != "unknown":
            changes["cause"] = report.cause
        if self.seconds_lost < report.seconds_lost:
            changes["seconds_lost"] = report.seconds_lost
        return self.model_copy(update=changes) if changes else self

    def losing(self, since: float, until: float) -> Incident:
        """The incident after the training made from ``since`` to ``until`` was thrown away.

        A deeper rollback throws away again what an earlier one had begun with, so stretches are joined.
        """
        joined = [(since, max(since, until))]
        for begin, end in self.lost:
            if end < joined[0][0] or begin > joined[0][1]:
                joined.append((begin, end))
            else:
                joined[0] = (min(begin, joined[0][0]), max(end, joined[0][1]))
        lost = tuple(sorted(joined))[-32:]
        return self.model_copy(update={"lost": lost, "seconds_lost": sum(end - begin for begin, end in lost)})

    @property
    def is_active(self) -> bool:
        """Whether its life goes on."""
        return self.state in ("open", "recovering", "watching")

    def report(self) -> IncidentReport:
        """What is told to others, without the private marks; the band to come back to is among the evidence."""
        told = {name: getattr(self, name) for name in IncidentReport.model_fields}
        known = {"loss_before": self.loss_before, "loss_band": self.loss_band}
        told["evidence"] = {**{name: value for name, value in known.items() if value is not None}, **self.evidence}
        return IncidentReport(**told)

    def loss_is_back(self, level: float | None) -> bool:
        """Whether ``level`` (a median of recent losses) lies in the band of before the onset, or below it.

        Where no band was known (trouble from the first steps) any finite level counts.
        """
        if level is None or level != level or level in (float("inf"), float("-inf")):
            return False
        if self.loss_before is None or self.loss_before != self.loss_before:
            return True
        width = self.loss_band if self.loss_band is not None and self.loss_band == self.loss_band else 0.0
        return level <= self.loss_before + max(BACK_WITHIN * width, 0.05 * abs(self.loss_before))
