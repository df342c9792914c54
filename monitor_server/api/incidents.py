"""Incidents of one run, and of all."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from monitor_server.api.answers import Incidents, RecordedIncident
from monitor_server.api.service import Limit, Serving, answer
from monitor_server.storage import incidents
from monitor_server.storage.incidents import StoredIncident
from trainguard.wire import FindingKind, IncidentState

router = APIRouter(tags=["incidents"])

States = Annotated[list[IncidentState] | None, Query(description="May be given several times.")]
Kinds = Annotated[list[FindingKind] | None, Query(description="May be given several times.")]


@router.get("/incidents", response_model=Incidents)
def list_incidents(
    service: Serving, run_id: UUID | None = None, state: States = None, kind: Kinds = None, limit: Limit = 100
) -> Response:
    """Incidents of every run, the latest first."""
    with service.database.read() as connection:
        found = incidents.listing(connection, run_id=run_id, states=state or (), kinds=kind or (), limit=limit)
    return answer(_told(found))


@router.get("/runs/{run_id}/incidents", response_model=Incidents)
def list_incidents_of_run(
    run_id: UUID, service: Serving, state: States = None, kind: Kinds = None, limit: Limit = 1000
) -> Response:
    """Incidents of one run, the latest first."""
    with service.reading(run_id) as (connection, _):
        found = incidents.listing(connection, run_id=run_id, states=state or (), kinds=kind or (), limit=limit)
    return answer(_told(found))


def _told(found: list[StoredIncident]) -> Incidents:
    return Incidents(
        incidents=[
            RecordedIncident(**dict(one.incident), run_id=one.run_id, run=one.run, project=one.project, brain=one.brain)
            for one in found
        ]
    )
