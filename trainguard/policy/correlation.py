"""Findings become incidents: one trouble, one incident, however many detectors saw it."""

from __future__ import annotations

from uuid import uuid5

from trainguard.policy.incident import Incident, family_of, graver
from trainguard.policy.playbook import Playbook
from trainguard.policy.situation import Judgement, Notice, Situation
from trainguard.wire import Finding

CLEAR = 9.0
"""Times its noise from which on nobody doubts that a slow drift is one (`detectors.divergence`)."""


def correlate(judgement: Judgement, situation: Situation, playbook: Playbook, now: float) -> Judgement:
    """Let each finding join the active incident of its family, or open one.

    Findings of severity ``info`` are history, not trouble; findings of an attempt that is already abandoned
    say nothing about the run as it is now.
    """
    for finding in situation.findings:
        if finding.severity == "info" or finding.attempt < situation.attempt:
            continue
        family = family_of(finding.kind)
        judgement = judgement.with_memory(judgement.memory.troubled(family, finding.step))
        known = next((one for one in judgement.memory.active() if one.family == family), None)
        if known is None:
            incident = _open(finding, family, situation, playbook, now)
            judgement = judgement.with_incident(incident, Notice(incident.incident_id, "opened", finding.message))
        else:
            judgement = judgement.with_incident(_join(known, finding, playbook, now))
    return judgement


def _open(finding: Finding, family: str, situation: Situation, playbook: Playbook, now: float) -> Incident:
    patience = _patience(finding, playbook)
    return Incident(
        # No chance in the brain: the same finding makes the same incident, whichever process judges.
        incident_id=uuid5(situation.run_id, f"incident:{finding.attempt}:{finding.step}:{family}"),
        kind=finding.kind,
        family=family,
        state="open",
        severity=finding.severity,
        attempt=finding.attempt,
        onset_step=finding.onset_step,
        detected_step=finding.step,
        last_finding_step=finding.step,
        failed_step=finding.step,
        opened_at=now,
        updated_at=now,
        findings=1,
        evidence=dict(finding.evidence),
        loss_before=finding.evidence.get("loss_before"),
        loss_band=finding.evidence.get("loss_band"),
        wait_until_step=finding.step + patience,
        summary=finding.message,
    )


def _patience(finding: Finding, playbook: Playbook) -> int:
    """Steps within which a warning may heal: twice the time it took to show, for a drift that noise might explain."""
    patience = playbook.ladder(finding.kind).heal_within_steps
    if finding.evidence.get("drift_over_noise", CLEAR) < CLEAR:
        return max(patience, 2 * (finding.step - finding.onset_step))
    return patience


def _join(incident: Incident, finding: Finding, playbook: Playbook, now: float) -> Incident:
    changes: dict[str, object] = {
        "updated_at": now,
        "findings": incident.findings + 1,
        "last_finding_step": finding.step,
        "failed_step": max(incident.failed_step, finding.step),
    }
    critical = finding.severity == "critical"
    if incident.state == "watching":
        # On probation every renewed trouble counts: critical means the remedy did not hold, a warning may heal.
        patience = _patience(finding, playbook)
        changes |= {
            "state": "open",
            "decided": "",
            "severity": finding.severity,
            "kind": finding.kind if critical else incident.kind,
            "onset_step": finding.onset_step,
            "evidence": dict(finding.evidence),
            "wait_until_step": finding.step + patience,
            "relapses": incident.relapses + 1,
            "summary": finding.message,
            "attempt": finding.attempt,
        }
    elif incident.state == "open":
        kind = graver(incident.kind, finding.kind)
        graver_now = critical and incident.severity != "critical"
        changes |= {"kind": kind, "severity": "critical" if critical else incident.severity}
        if finding.attempt == incident.attempt:
            changes["onset_step"] = min(incident.onset_step, finding.onset_step)
        if graver_now or kind != incident.kind:
            changes |= {"decided": "", "summary": finding.message}
            # What was healthy before the first sign stays the measure; what it is now comes from the latest.
            changes["evidence"] = {**finding.evidence, **_healthy(incident.evidence)}
    if incident.loss_before is None and finding.evidence.get("loss_before") is not None:
        changes |= {
            "loss_before": finding.evidence["loss_before"],
            "loss_band": finding.evidence.get("loss_band"),
        }
    return incident.model_copy(update=changes)


def _healthy(evidence: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in evidence.items() if name.endswith("_before") or name == "loss_band"}
