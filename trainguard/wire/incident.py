"""Incidents and decisions as they are told to others: by a local brain to the service, by the API to people."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from trainguard.wire.base import Attempt, Sentence, SignalValue, Step, UnixTime, WireModel
from trainguard.wire.command import Order
from trainguard.wire.finding import FindingKind, Severity
from trainguard.wire.hypothesis import Hypothesis

IncidentState = Literal["open", "recovering", "watching", "resolved", "escalated"]
"""open → recovering (a command is on its way) → watching (probation) → resolved; or escalated to a person."""

Verdict = Literal["act", "propose", "wait", "nothing", "halt"]
"""act: a command; propose: what it would do (mode ``advise``); wait: look again later; nothing: and why not."""


Cause = Literal["rate", "passing", "unknown"]
"""rate: the step size did it, so a lowered rate stays; passing: bad data or a flipped bit, so it comes back."""


class IncidentReport(WireModel):
    """Findings that belong together, with a life."""

    incident_id: UUID
    kind: FindingKind
    state: IncidentState
    severity: Severity
    attempt: Attempt
    onset_step: Step
    detected_step: Step
    opened_at: UnixTime
    updated_at: UnixTime
    closed_at: UnixTime | None = None
    rung: Annotated[int, Field(ge=0)] = 0
    """Rungs of the ladder tried so far."""
    steps_lost: Annotated[int, Field(ge=0)] = 0
    seconds_lost: Annotated[float, Field(ge=0)] = 0.0
    """Time of training that was thrown away: from each checkpoint gone back to until the rollback."""
    rate_factor: Annotated[float, Field(gt=0)] = 1.0
    """What this incident's remedies have multiplied the learning rate by, and not given back."""
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    """The limit for gradient norms that its remedies set and that is not lifted; ``None`` for none."""
    clip_norm_before: Annotated[float, Field(gt=0)] | None = None
    """The limit that was in force before them; ``None`` for none."""
    cause: Cause = "unknown"
    """What the evidence says once it is resolved; it decides whether the rate comes back."""
    failed_step: Step | None = None
    """The furthest step of the trouble so far."""
    restored_step: Step | None = None
    """Where its last rollback went back to."""
    watch_until_step: Step | None = None
    """The end of its probation."""
    findings: Annotated[int, Field(ge=0)] = 0
    evidence: dict[str, SignalValue] = Field(default_factory=dict)
    summary: Sentence = ""
    outcome: Sentence = ""
    diagnosis: Annotated[tuple[Hypothesis, ...], Field(max_length=16)] = ()
    """Possible causes, the best supported first."""


class DecisionReport(WireModel):
    """The chosen rung with its reason, also when it is "nothing, because …"."""

    decision_id: UUID
    incident_id: UUID
    decided_at: UnixTime
    decided_by: Literal["server", "local", "person"] = "server"
    attempt: Attempt
    step: Step
    verdict: Verdict
    rung: Annotated[int, Field(ge=0)] = 0
    orders: tuple[Order, ...] = ()
    reason: Sentence
    command_id: UUID | None = None
    expires_at: UnixTime | None = None
    """Of a proposal: until when it can be approved."""
