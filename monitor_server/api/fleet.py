"""All runs at once."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from monitor_server.answers import Fleet, IncidentTally, Project, Projects
from monitor_server.api.service import PREFIX, Reading, answer
from monitor_server.storage import fleet, runs

router = APIRouter(prefix=PREFIX, tags=["fleet"])

MOST_INCIDENTS = 20_000
"""Counted at most, the latest: about a second's work."""


@router.get("/projects", response_model=Projects)
def list_projects(service: Reading) -> Response:
    """Every project, with how many runs it has."""
    with service.database.read() as connection:
        found = fleet.projects(connection)
    told = [
        Project(project=one.project, runs=one.runs, living=one.living)
        for one in found
        if service.caller.may_see(one.project)
    ]
    return answer(Projects(projects=told))


@router.get("/fleet", response_model=Fleet)
def show_fleet(
    service: Reading,
    project: str | None = None,
    seconds: Annotated[
        float | None, Query(gt=0, le=1e10, allow_inf_nan=False, description="Only incidents opened so recently.")
    ] = None,
) -> Response:
    """Incidents by kind and cause over all runs, steps and hours lost and saved."""
    project = service.only(project)
    opened_after = service.clock() - seconds if seconds is not None else -1.0
    with service.database.read() as connection:
        tallies, saved, has_more = fleet.tally(
            connection, project=project, opened_after=opened_after, limit=MOST_INCIDENTS
        )
        states = runs.count_by_state(connection, project=project)
    told = [
        IncidentTally(
            kind=one.kind,
            cause=one.cause,
            runs=len(one.run_ids),
            incidents=one.incidents,
            living=one.living,
            recovered=one.recovered,
            healed=one.healed,
            escalated=one.escalated,
            steps_lost=one.steps_lost,
            seconds_lost=one.seconds_lost,
        )
        for one in tallies
    ]
    return answer(
        Fleet(
            runs=states,
            tallies=told,
            steps_lost=sum(one.steps_lost for one in tallies),
            seconds_lost=sum(one.seconds_lost for one in tallies),
            runs_saved=saved.runs,
            steps_saved=saved.steps,
            seconds_saved=saved.seconds,
            is_complete=not has_more,
        )
    )
