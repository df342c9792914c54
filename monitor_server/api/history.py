"""What happened to a run besides its observations: one list per kind of thing."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from fastapi import APIRouter, Response

from monitor_server.answers import (
    Acknowledgements,
    Attempts,
    Checkpoints,
    Decisions,
    Evaluations,
    Findings,
    RecordedFinding,
)
from monitor_server.api.service import PREFIX, Limit, Reading, answer
from monitor_server.storage import attempts, incidents, reports

router = APIRouter(prefix=PREFIX, tags=["history"])


@router.get("/runs/{run_id}/attempts", response_model=Attempts)
def list_attempts(run_id: UUID, service: Reading) -> Response:
    """The branches of the run's history; abandoned steps stay readable under their attempt."""
    with service.reading(run_id) as (connection, _):
        return answer(Attempts(attempts=attempts.of_run(connection, run_id)))


@router.get("/runs/{run_id}/findings", response_model=Findings)
def list_findings(
    run_id: UUID, service: Reading, source: Literal["server", "trainer"] | None = None, limit: Limit = 1000
) -> Response:
    """What detectors said last: the service's own, and the trainer's for comparison; in order of (attempt, step)."""
    with service.reading(run_id) as (connection, _):
        stored = reports.findings_of(connection, run_id, source=source, limit=limit)
    found = [RecordedFinding(**dict(one.finding), source=one.source, recorded_at=one.recorded_at) for one in stored]
    return answer(Findings(findings=found))


@router.get("/runs/{run_id}/evaluations", response_model=Evaluations)
def list_evaluations(run_id: UUID, service: Reading, limit: Limit = 1000) -> Response:
    """What the latest evaluations measured, in order of (attempt, step)."""
    with service.reading(run_id) as (connection, _):
        return answer(Evaluations(evaluations=reports.evaluations_of(connection, run_id, limit)))


@router.get("/runs/{run_id}/checkpoints", response_model=Checkpoints)
def list_checkpoints(run_id: UUID, service: Reading, removed: bool = False, limit: Limit = 1000) -> Response:
    """What the trainer can go back to, and with ``removed`` also what it could once."""
    with service.reading(run_id) as (connection, _):
        found = reports.checkpoints_of(connection, run_id, removed_too=removed, limit=limit)
    return answer(Checkpoints(checkpoints=found))


@router.get("/runs/{run_id}/decisions", response_model=Decisions)
def list_decisions(run_id: UUID, service: Reading, incident_id: UUID | None = None, limit: Limit = 1000) -> Response:
    """What was decided last, in the order of time, each with its reason, also where it was "nothing, because …"."""
    with service.reading(run_id) as (connection, _):
        found = incidents.decisions_of(connection, run_id, incident_id=incident_id, limit=limit)
    return answer(Decisions(decisions=found))


@router.get("/runs/{run_id}/acknowledgements", response_model=Acknowledgements)
def list_acknowledgements(run_id: UUID, service: Reading, limit: Limit = 1000) -> Response:
    """The trainer's latest answers to commands, in the order of time."""
    with service.reading(run_id) as (connection, _):
        return answer(Acknowledgements(acknowledgements=reports.acknowledgements_of(connection, run_id, limit)))
