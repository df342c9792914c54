"""Attended: what people do about an incident beside commanding: they have seen it, they comment, they close it."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID, uuid4

from sqlalchemy import Connection

from monitor_server.pipeline.broadcast import of_incident, of_remark
from monitor_server.pipeline.refusals import IncidentRefused, UnknownIncident
from monitor_server.storage import RunRow, audit, events, incidents, remarks, runs
from monitor_server.storage.audit import Entry
from monitor_server.storage.incidents import ACTIVE_STATES, StoredIncident
from monitor_server.storage.remarks import Remark
from trainguard.policy import PolicyMemory


def acknowledge(
    connection: Connection,
    run_id: UUID,
    incident_id: UUID,
    *,
    by: str,
    now: float,
    comment: str = "",
    token_id: str | None = None,
) -> Remark:
    """Say that somebody has seen it. The first one stays; a second one is answered with the first.

    Raises `UnknownIncident`.
    """
    run, _ = _locked(connection, run_id, incident_id)
    known = remarks.acknowledged(connection, [(run_id, incident_id)]).get((run_id, incident_id))
    if known is not None:
        return known
    _write_down(connection, run, "acknowledge", incident_id, {"comment": comment}, by, token_id, now)
    return _say(connection, run, Remark(run.run_id, incident_id, uuid4(), "acknowledged", now, by, comment), now)


def comment_on(
    connection: Connection,
    run_id: UUID,
    incident_id: UUID,
    *,
    by: str,
    now: float,
    comment: str,
    token_id: str | None = None,
) -> Remark:
    """Add a comment. Raises `UnknownIncident`."""
    run, _ = _locked(connection, run_id, incident_id)
    _write_down(connection, run, "comment", incident_id, {"comment": comment}, by, token_id, now)
    return _say(connection, run, Remark(run.run_id, incident_id, uuid4(), "comment", now, by, comment), now)


def resolve(
    connection: Connection,
    run_id: UUID,
    incident_id: UUID,
    *,
    by: str,
    now: float,
    comment: str = "",
    token_id: str | None = None,
) -> Remark:
    """Close an incident by hand: the policy does nothing more about it, and the same trouble opens a new one.

    Raises `UnknownIncident`, and `IncidentRefused` where it is closed already, where a command is on its way, or
    where a trainer's own brain keeps it and is alive to end it.
    """
    run, stored = _locked(connection, run_id, incident_id)
    report = stored.incident
    if report.state == "resolved":
        raise IncidentRefused("incident_id", f"it is resolved already: {report.outcome or report.summary}")
    if stored.brain == "local" and report.state in ACTIVE_STATES and run.state == "running":
        raise IncidentRefused(
            "incident_id", "the trainer's own brain keeps this incident and would report it again; it will end it"
        )
    if report.state == "recovering" and run.state in runs.LIVING_STATES:
        raise IncidentRefused(
            "incident_id", "a command is on its way to the trainer; wait until it is answered or has expired"
        )
    outcome = (f"{by} resolved it: {comment}" if comment else f"{by} resolved it.")[:4000]
    changed = {"state": "resolved", "updated_at": now, "closed_at": now, "outcome": outcome}
    resolved = report.model_copy(update=changed)
    incidents.save(connection, run.run_id, [resolved], stored.brain)
    _follow_in_memory(connection, run, incident_id, changed)
    events.add(connection, [of_incident(run, resolved, now, brain=stored.brain)])
    document = {"reason": comment, "former_state": report.state}
    _write_down(connection, run, "resolve", incident_id, document, by, token_id, now)
    return _say(connection, run, Remark(run.run_id, incident_id, uuid4(), "resolved", now, by, comment), now)


def _locked(connection: Connection, run_id: UUID, incident_id: UUID) -> tuple[RunRow, StoredIncident]:
    run = runs.lock(connection, [run_id]).get(run_id)
    # Read behind the lock: what it was before, an envelope may have changed meanwhile.
    found = incidents.find(connection, incident_id, run_id=run_id)
    if run is None or found is None:
        raise UnknownIncident(incident_id)
    return run, found


def _write_down(
    connection: Connection,
    run: RunRow,
    action: str,
    incident_id: UUID,
    document: Mapping[str, object],
    by: str,
    token_id: str | None,
    now: float,
) -> None:
    entry = Entry(
        done_at=now,
        actor_kind="person",
        actor=by,
        token_id=token_id,
        action=action,
        project=run.project,
        run_id=run.run_id,
        target=str(incident_id),
        document=document,
    )
    audit.add(connection, [entry])


def _say(connection: Connection, run: RunRow, remark: Remark, now: float) -> Remark:
    remarks.add(connection, remark)
    events.add(connection, [of_remark(run, remark, now)])
    return remark


def _follow_in_memory(connection: Connection, run: RunRow, incident_id: UUID, changed: dict[str, object]) -> None:
    memory = PolicyMemory.model_validate(run.policy_memory or {})
    incident = next((one for one in memory.incidents if one.incident_id == incident_id), None)
    if incident is None:
        return
    closed = incident.model_copy(update={**changed, "command_id": None, "command_expires_at": None})
    # The version rises: no process may go on with what it remembers from before.
    values = {
        "version": run.version + 1,
        "policy_memory": memory.with_incident(closed).model_dump(mode="json"),
        "last_decision": changed["outcome"],
    }
    runs.change(connection, run.run_id, values)
