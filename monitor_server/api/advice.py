"""What there is to say about a run's set-up."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from monitor_server.answers import AdviceOnRun
from monitor_server.api.service import PREFIX, Reading, answer
from trainguard.policy.diagnosis import SetUp, Task, advise

router = APIRouter(prefix=PREFIX, tags=["runs"])

Chosen = Annotated[Task | None, Query(description="Whose published ranges apply; default: the run's tag `task`.")]


@router.get("/runs/{run_id}/advice", response_model=AdviceOnRun)
def advise_on_run(run_id: UUID, service: Reading, task: Chosen = None) -> Response:
    """The set-up checked against published ranges and standard knowledge, warnings first."""
    with service.reading(run_id) as (_, row):
        description = row.described()
    advice = advise(description, task=task)
    return answer(
        AdviceOnRun(run_id=run_id, run=description.run, task=SetUp.of(description, task=task).task, advice=advice)
    )
