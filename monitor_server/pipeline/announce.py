"""Announce: what people are to be told goes into the outbox, in the same transaction as what it tells of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid5

from monitor_server.pipeline.case import Bench, Case
from monitor_server.settings import Settings
from monitor_server.storage import RunRow, notifications, silences
from monitor_server.storage.notifications import Notification
from trainguard.policy.situation import Notice
from trainguard.wire import DecisionReport, IncidentReport


def announce(case: Case, bench: Bench) -> Case:
    """One message for each notice and each receiver that a route leads to."""
    assert case.judgement is not None
    incidents = {incident.incident_id: incident.report() for incident in case.judgement.memory.incidents}
    decisions = {decision.incident_id: decision for decision in case.judgement.decisions}
    notices = case.judgement.notices
    # Notices are rare, and kinds are silenced rarer still: nobody is asked before there is something to tell.
    unwanted = silences.silenced_kinds(bench.connection, case.run.run_id, case.now) if notices else frozenset()
    for notice in notices:
        about = incidents.get(notice.incident_id)
        if about is not None and about.kind in unwanted and notice.event != "escalated":
            continue
        told = letters(
            bench.settings,
            case.run,
            notice.event,
            notice.sentence,
            case.now,
            # Each state of an incident is told once; what may come again does so on another attempt.
            name=f"{notice.incident_id}:{notice.event}{_again(notice, incidents)}",
            incident=about,
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


def _again(notice: Notice, incidents: Mapping[UUID, IncidentReport]) -> str:
    """A remedy, and the wish for one, are new after every rollback; the other states come once in a life."""
    incident = incidents.get(notice.incident_id)
    is_repeatable = notice.event in ("needs_approval", "recovering") and incident is not None
    return f":{incident.attempt}:{incident.rung}" if is_repeatable and incident is not None else ""


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
    """What every receiver is to be sent about ``event``. The same ``name`` of the same run is told once to each."""
    document: dict[str, Any] = {
        "event": event,
        "sentence": sentence,
        "run_id": run.run_id,
        "run": run.name,
        "project": run.project,
        "incident": incident,
        "decision": decision,
        "link": _link(settings, run, incident),
    }
    severity = "warning" if incident is None else incident.severity
    return [
        Notification(run.run_id, uuid5(run.run_id, f"notification:{name}:{receiver}"), receiver, event, now, document)
        for receiver in settings.address_book.told_of(run.project, severity, event)
    ]


def _link(settings: Settings, run: RunRow, incident: IncidentReport | None) -> str:
    """Where a person reads on, and answers."""
    page = f"{settings.page_url}/runs/{run.run_id}"
    return page if incident is None else f"{page}/incidents/{incident.incident_id}"
