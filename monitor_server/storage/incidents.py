"""Incidents and the decisions on them, of the service's own brain and of the trainers' local ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from sqlalchemy import Connection, Select, func, select

from monitor_server.storage.tables import decisions, incidents, runs
from monitor_server.storage.upsert import insert_new, insert_or_replace
from trainguard.wire import DecisionReport, IncidentReport

Brain = Literal["server", "local"]

ACTIVE_STATES = ("open", "recovering", "watching")


@dataclass(frozen=True, slots=True)
class StoredIncident:
    """An incident, the run it belongs to, and whose it is."""

    run_id: UUID
    project: str
    run: str
    brain: Brain
    incident: IncidentReport


def save(connection: Connection, run_id: UUID, reports: Sequence[IncidentReport], brain: Brain) -> None:
    """Record incidents as they are now. A local brain's report never overwrites the service's own incident."""
    latest = {report.incident_id: report for report in reports}
    if brain == "local" and latest:
        own = select(incidents.c.incident_id).where(
            incidents.c.run_id == run_id,
            incidents.c.incident_id.in_(list(latest)),
            incidents.c.brain == "server",
        )
        for (incident_id,) in connection.execute(own).all():
            del latest[incident_id]
    rows = [
        {
            "run_id": run_id,
            "incident_id": report.incident_id,
            "brain": brain,
            "kind": report.kind,
            "state": report.state,
            "severity": report.severity,
            "opened_at": report.opened_at,
            "closed_at": report.closed_at,
            "document": report,
        }
        for report in latest.values()
    ]
    insert_or_replace(connection, incidents, rows)


def newly_escalated(connection: Connection, run_id: UUID, reports: Sequence[IncidentReport]) -> list[IncidentReport]:
    """Those of ``reports`` that say *escalated* for the first time; asked before they are saved."""
    escalated = {report.incident_id: report for report in reports if report.state == "escalated"}
    if not escalated:
        return []
    known = select(incidents.c.incident_id).where(
        incidents.c.run_id == run_id, incidents.c.incident_id.in_(list(escalated)), incidents.c.state == "escalated"
    )
    for (incident_id,) in connection.execute(known).all():
        del escalated[incident_id]
    return list(escalated.values())


def listing(
    connection: Connection,
    *,
    run_id: UUID | None = None,
    states: Sequence[str] = (),
    kinds: Sequence[str] = (),
    project: str | None = None,
    limit: int = 100,
) -> list[StoredIncident]:
    """Incidents of one run, of a project, or of all, the latest first."""
    statement = (
        select(incidents.c.run_id, runs.c.project, runs.c.name, incidents.c.brain, incidents.c.document)
        .join(runs, runs.c.run_id == incidents.c.run_id)
        .order_by(incidents.c.opened_at.desc(), incidents.c.run_id, incidents.c.incident_id)
        .limit(limit)
    )
    if run_id is not None:
        statement = statement.where(incidents.c.run_id == run_id)
    if project is not None:
        statement = statement.where(runs.c.project == project)
    if states:
        statement = statement.where(incidents.c.state.in_(states))
    if kinds:
        statement = statement.where(incidents.c.kind.in_(kinds))
    return [
        StoredIncident(owner, project, name, brain, IncidentReport.model_validate(document))
        for owner, project, name, brain, document in connection.execute(statement)
    ]


def find(
    connection: Connection, incident_id: UUID, *, run_id: UUID | None = None, project: str | None = None
) -> StoredIncident | None:
    """One incident by its id, or None; of one run, or of one project, where that is said.

    A trainer chooses the ids of its own brain's incidents, so that two runs may have the same one: the service's own
    comes first, then the earliest.
    """
    statement = (
        select(incidents.c.run_id, runs.c.project, runs.c.name, incidents.c.brain, incidents.c.document)
        .join(runs, runs.c.run_id == incidents.c.run_id)
        .where(incidents.c.incident_id == incident_id)
        .order_by(incidents.c.brain.desc(), incidents.c.opened_at, incidents.c.run_id)
        .limit(1)
    )
    if run_id is not None:
        statement = statement.where(incidents.c.run_id == run_id)
    if project is not None:
        statement = statement.where(runs.c.project == project)
    row = connection.execute(statement).one_or_none()
    if row is None:
        return None
    return StoredIncident(row[0], row[1], row[2], row[3], IncidentReport.model_validate(row[4]))


def active_counts(connection: Connection) -> dict[tuple[UUID, str], int]:
    """How many incidents of each (run, kind) live."""
    statement = (
        select(incidents.c.run_id, incidents.c.kind, func.count())
        .where(incidents.c.state.in_(ACTIVE_STATES))
        .group_by(incidents.c.run_id, incidents.c.kind)
    )
    return {(run_id, kind): count for run_id, kind, count in connection.execute(statement)}


def troubled() -> Select[tuple[UUID]]:
    """The runs with an incident whose life goes on, to be asked within another question."""
    return select(incidents.c.run_id).where(incidents.c.state.in_(ACTIVE_STATES))


def gravest_active(connection: Connection, run_ids: Sequence[UUID]) -> dict[UUID, IncidentReport]:
    """For each run that has one, the living or escalated incident that a person should see first."""
    statement = select(incidents.c.run_id, incidents.c.document).where(
        incidents.c.run_id.in_(list(run_ids)), incidents.c.state.in_((*ACTIVE_STATES, "escalated"))
    )
    found: dict[UUID, IncidentReport] = {}
    for run_id, document in connection.execute(statement.order_by(incidents.c.opened_at)):
        report = IncidentReport.model_validate(document)
        known = found.get(run_id)
        if known is None or _gravity(report) >= _gravity(known):
            found[run_id] = report
    return found


def _gravity(report: IncidentReport) -> tuple[bool, int]:
    return report.state in ACTIVE_STATES, ("info", "warning", "critical").index(report.severity)


def add_decisions(connection: Connection, run_id: UUID, reports: Sequence[DecisionReport]) -> None:
    """Record decisions once each."""
    rows = [
        {
            "run_id": run_id,
            "decision_id": report.decision_id,
            "incident_id": report.incident_id,
            "decided_at": report.decided_at,
            "decided_by": report.decided_by,
            "verdict": report.verdict,
            "document": report,
        }
        for report in reports
    ]
    insert_new(connection, decisions, rows)


def decisions_of(
    connection: Connection, run_id: UUID, *, incident_id: UUID | None = None, limit: int = 1000
) -> list[DecisionReport]:
    """The latest decisions, in the order of time."""
    statement = (
        select(decisions.c.document)
        .where(decisions.c.run_id == run_id)
        .order_by(decisions.c.decided_at.desc(), decisions.c.decision_id.desc())
        .limit(limit)
    )
    if incident_id is not None:
        statement = statement.where(decisions.c.incident_id == incident_id)
    rows = connection.execute(statement).all()
    return [DecisionReport.model_validate(document) for (document,) in reversed(rows)]


def decision(connection: Connection, run_id: UUID, decision_id: UUID) -> DecisionReport | None:
    """One decision, or None."""
    statement = select(decisions.c.document).where(decisions.c.run_id == run_id, decisions.c.decision_id == decision_id)
    document = connection.execute(statement).scalar_one_or_none()
    return None if document is None else DecisionReport.model_validate(document)


def latest_decision(connection: Connection, run_id: UUID, incident_id: UUID) -> DecisionReport | None:
    """The decision that stands on an incident, or None before the first."""
    statement = (
        select(decisions.c.document)
        .where(decisions.c.run_id == run_id, decisions.c.incident_id == incident_id)
        .order_by(decisions.c.decided_at.desc(), decisions.c.decision_id.desc())
        .limit(1)
    )
    document = connection.execute(statement).scalar_one_or_none()
    return None if document is None else DecisionReport.model_validate(document)
