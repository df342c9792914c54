"""Settle: the run's row follows, and the receipt is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from monitor_server.pipeline.case import Bench, Case
from monitor_server.settings import Settings
from monitor_server.storage import runs
from monitor_server.storage.tables import SIGNAL_BITS
from trainguard.policy import Playbook
from trainguard.wire import Command, Receipt

MOST_FLUSH_SECONDS = 3600.0


def settle(case: Case, bench: Bench) -> Case:
    """Bring the run's row up to what is now known of the run, and raise its version."""
    assert case.judgement is not None
    assert case.live is not None
    run, envelope, judgement = case.run, case.envelope, case.judgement
    latest = dict(run.last_signals)
    for row in case.fresh:
        latest.update(row.signals)
    counts = dict(run.finding_counts)
    for finding in case.findings:
        name = f"{finding.kind}/{finding.severity}"
        counts[name] = counts.get(name, 0) + 1
    escalated = sum(1 for incident in judgement.incidents if incident.state == "escalated")
    state = envelope.state if case.is_current else run.state
    has_ended = state not in runs.LIVING_STATES
    values: dict[str, Any] = {
        "state": state,
        "attempt": case.attempt,
        "revision": case.revision,
        "lr_scale": _lr_scale(case),
        "last_step": case.live.last_step if case.live.last_step >= 0 else None,
        "last_seen_at": case.now,
        "last_observed_at": case.fresh[-1].observed_at if case.fresh else run.last_observed_at,
        "ended_at": (run.ended_at or case.now) if has_ended else None,
        "version": run.version + 1,
        "observations_total": run.observations_total + case.stored,
        "observations_lost": run.observations_lost + case.lost,
        "rollbacks_total": run.rollbacks_total + case.rollbacks,
        "escalations_total": run.escalations_total + escalated + len(case.escalated_locally),
        "finding_counts": counts,
        "last_signals": {name: value for name, value in latest.items() if name in SIGNAL_BITS},
        "last_decision": judgement.decisions[-1].reason if judgement.decisions else run.last_decision,
    }
    if run.policy_memory is None or judgement.memory is not case.remembered:
        # As JSON and back: the next envelope of this transaction reads what another process would read.
        values["policy_memory"] = judgement.memory.model_dump(mode="json")
    bench.ledger.runs[run.run_id] = values
    case.live.version = values["version"]
    return replace(case, run=replace(run, **values))


def answer(case: Case, pending: Sequence[Command], settings: Settings, *, pressure: float = 1.0) -> Case:
    """Write the receipt: also for a duplicate, which may have missed the commands of the first one.

    Under ``pressure`` trainers are asked to gather for so many times longer: the same numbers in fewer envelopes.
    """
    receipt = Receipt(
        run_id=case.run.run_id,
        sender=case.envelope.sender,
        sequence=case.last_sequence,
        status="duplicate" if case.is_duplicate else "recorded",
        server_time=case.now,
        commands=list(pending),
        flush_seconds=min(settings.flush_seconds * pressure, MOST_FLUSH_SECONDS),
        lease_seconds=settings.lease_seconds,
        adopted=_adopted(case),
        playbook=_playbook(case),
        message=case.run.last_decision,
    )
    return replace(case, receipt=receipt)


def _adopted(case: Case) -> list[UUID]:
    """The local brain's incidents that are followed here now; asked of the row, so that a duplicate hears it too."""
    if not case.envelope.incidents:
        return []
    followed = {incident["incident_id"] for incident in (case.run.policy_memory or {}).get("incidents", ())}
    told = dict.fromkeys(incident.incident_id for incident in case.envelope.incidents)
    return [incident_id for incident_id in told if str(incident_id) in followed]


def _playbook(case: Case) -> dict[str, Any] | None:
    """What differs from the built-in one: a trainer that is older than a new option can still read the rest."""
    if not case.is_playbook_told or case.playbook is None:
        return None
    if case.playbook == Playbook.default():
        return {"extends": "default"}
    return case.playbook.model_dump(mode="json", exclude_defaults=True)


def _lr_scale(case: Case) -> float:
    scale = case.run.lr_scale
    for answer_ in case.acknowledgements:
        told = answer_.changes.get("lr_scale")
        if answer_.status == "applied" and isinstance(told, int | float) and 0 < told <= 1:
            scale = float(told)
    for row in reversed(case.fresh):
        measured = row.get("lr_scale")
        if measured is not None and 0 < measured <= 1:
            return measured
    return scale
