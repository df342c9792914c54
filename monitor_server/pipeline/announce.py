"""Announce: what people are to be told goes into the outbox, in the same transaction as what it tells of."""

from __future__ import annotations

from typing import Any
from uuid import uuid5

from monitor_server.pipeline.case import Bench, Case
from monitor_server.settings import Settings
from monitor_server.storage import RunRow, notifications
from monitor_server.storage.notifications import Notification
from trainguard.wire import DecisionReport, IncidentReport


def announce(case: Case, bench: Bench) -> Case:
    """One message for each notice and each notifier that has somewhere to send to."""
    assert case.judgement is not None
    incidents = {incident.incident_id: incident.report() for incident in case.judgement.memory.incidents}
    decisions = {decision.incident_id: decision for decision in case.judgement.decisions}
    for index, notice in enumerate(case.judgement.notices):
        told = letters(
            bench.settings,
            case.run,
            notice.event,
            notice.sentence,
            case.now,
            # Named by its place in the run's history: the same envelope can never be told twice.
            name=f"{case.run.version}:{index}",
            incident=incidents.get(notice.incident_id),
            decision=decisions.get(notice.incident_id),
        )
        bench.ledger.later(notifications.post, told)
    for incident in case.escalated_locally:
        sentence = incident.outcome or incident.summary
        told = letters(
            bench.settings, case.run, "escalated", sentence, case.now, name=f"local:{incident.incident_id}",
            incident=incident,
        )  # fmt: skip
        bench.ledger.later(notifications.post, told)
    return case


def letters(
    settings: Settings,
    run: RunRow,
    event: str,
    sentence: str,
    now: float,
    *,
    name: str,
    incident: IncidentReport | None = None,
    decision: DecisionReport | None = None,
) -> list[Notification]:
    """What every notifier is to send about ``event``. The same ``name`` of the same run is told once."""
    document: dict[str, Any] = {
        "event": event,
        "sentence": sentence,
        "run_id": run.run_id,
        "run": run.name,
        "project": run.project,
        "incident": incident,
        "decision": decision,
        "link": f"{settings.page_url}/runs/{run.run_id}",
    }
    return [
        Notification(run.run_id, uuid5(run.run_id, f"notification:{name}:{notifier}"), notifier, event, now, document)
        for notifier in settings.notifiers
    ]
