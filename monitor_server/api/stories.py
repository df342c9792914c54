"""From the rows of storage to the story of an incident."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from monitor_server.answers import (
    IncidentDetail,
    RecordedCommand,
    RecordedFinding,
    RecordedIncident,
    RecordedRemark,
)
from monitor_server.storage import commands, incidents, remarks, reports, silences
from monitor_server.storage.incidents import StoredIncident
from monitor_server.storage.reports import StoredFinding
from trainguard.policy.incident import family_of
from trainguard.wire.finding import KINDS

MOST = 10_000
"""Findings of an incident, and commands and acknowledgements of its run, that are looked through."""
LATEST = 1e12
"""Seconds since 1970 (UTC): later than anything."""


def recorded(connection: Connection, found: Sequence[StoredIncident]) -> list[RecordedIncident]:
    """Incidents as they are told, with who has seen them."""
    seen = remarks.acknowledged(connection, [(one.run_id, one.incident.incident_id) for one in found])
    told = []
    for one in found:
        remark = seen.get((one.run_id, one.incident.incident_id))
        told.append(
            RecordedIncident(
                **dict(one.incident),
                run_id=one.run_id,
                run=one.run,
                project=one.project,
                brain=one.brain,
                acknowledged_by=remark.made_by if remark else None,
                acknowledged_at=remark.made_at if remark else None,
            )
        )
    return told


def detail_of(connection: Connection, found: StoredIncident, now: float) -> IncidentDetail:
    """An incident and everything about it."""
    incident_id, run_id = found.incident.incident_id, found.run_id
    decided = incidents.decisions_of(connection, run_id, incident_id=incident_id)
    latest = decided[-1] if decided else None
    ordered = {one.command_id for one in decided if one.command_id is not None}
    issued = [
        one
        for one in commands.of_run(connection, run_id, MOST)
        if one.command.incident_id == incident_id or one.command.command_id in ordered
    ]
    answered = {one.command.command_id for one in issued} | ordered
    unwanted = silences.silenced_kinds(connection, run_id, now)
    return IncidentDetail(
        incident=recorded(connection, [found])[0],
        silenced=found.incident.kind in unwanted or silences.is_silenced(connection, run_id, now),
        proposal=latest if latest and latest.verdict == "propose" and found.incident.state == "open" else None,
        findings=[
            RecordedFinding(**dict(one.finding), source=one.source, recorded_at=one.recorded_at)
            for one in _findings(connection, found)
        ],
        decisions=decided,
        commands=[RecordedCommand(**dict(one.command), state=one.state, settled_at=one.settled_at) for one in issued],
        acknowledgements=[
            one for one in reports.acknowledgements_of(connection, run_id, MOST) if one.command_id in answered
        ],
        remarks=[
            RecordedRemark(
                remark_id=one.remark_id,
                kind=one.kind,
                made_at=one.made_at,
                made_by=one.made_by,
                comment=one.comment,
            )
            for one in remarks.of_incident(connection, run_id, incident_id)
        ],
    )


def _findings(connection: Connection, found: StoredIncident) -> list[StoredFinding]:
    """Findings bear no incident's id: those of its family from its onset on, as many as had joined it."""
    incident = found.incident
    # The service's own clock wrote both; a trainer's clock may be another.
    is_own = found.brain == "server"
    return reports.findings_about(
        connection,
        found.run_id,
        source="server" if is_own else "trainer",
        kinds=[kind for kind in KINDS if family_of(kind) == family_of(incident.kind)],
        from_step=incident.onset_step,
        recorded_from=incident.opened_at if is_own else 0.0,
        recorded_to=incident.closed_at if is_own and incident.closed_at is not None else LATEST,
        limit=min(incident.findings, MOST) or MOST,
    )
