"""Was it the rate, or something that has passed? Decided from the evidence of the onset, and only where it is plain."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite

from trainguard.policy.incident import Incident
from trainguard.wire import Cause

RAISED = 1.5
"""The applied rate over the one before, from where on it is taken for the cause."""
STEADY = (0.5, 1.05)
"""The same, between which the rate was what it had been: a schedule may fall, a warm-up is no steady rate."""
FIRST_STEPS = 10
SUDDEN_WITHIN = 4
"""Steps from the onset to the first finding of what came at once. A rate that is too high takes its time."""


def cause_of(incident: Incident) -> Cause:
    """What the evidence says.

    *rate*: it had just been raised, or it was still rising. *passing*: the rate was steady, the trouble came at
    once, and one remedy ended it; bad batches and flipped bits look like that. Everything else is *unknown*, and
    is treated like *rate*: a rate that was cut for nothing costs a little speed, one that is raised for nothing
    costs another rollback. What was seen at the first remedy stands: afterwards the rate is warmed up again, and
    says nothing any more.
    """
    if incident.rung > 1:
        return "rate" if incident.cause == "rate" else "unknown"
    if incident.cause == "rate":
        return "rate"
    if incident.retries:
        return "passing"
    if incident.cause == "passing" or incident.relapses:
        return incident.cause
    change = _growth(incident.evidence, "learning_rate")
    if change is None:
        # Nothing came before: fresh moments met the full rate. The remedy warmed it up, and the beginning has passed.
        return "passing" if incident.onset_step <= FIRST_STEPS else "unknown"
    if change >= RAISED:
        return "rate"
    is_steady = STEADY[0] <= change <= STEADY[1]
    is_sudden = incident.detected_step - incident.onset_step <= SUDDEN_WITHIN
    if is_steady and is_sudden:
        return "passing"
    return "rate" if change > STEADY[1] else "unknown"


def _growth(evidence: Mapping[str, float], signal: str) -> float | None:
    before, at = evidence.get(f"{signal}_before"), evidence.get(f"{signal}_at")
    if before is None or at is None or not (isfinite(before) and isfinite(at)) or before <= 0:
        return None
    return at / before
