"""A trainer introduces itself."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from monitor_server.answers import RunSummary
from monitor_server.api.bodies import read_model
from monitor_server.api.openapi import takes
from monitor_server.api.service import PREFIX, Ingesting, Service, answer
from monitor_server.api.summaries import summary
from monitor_server.pipeline import register_run
from monitor_server.storage import RunRow, runs
from trainguard.wire import RunDescription

router = APIRouter(prefix=PREFIX, tags=["trainers"])


@router.post(
    "/runs",
    status_code=201,
    response_model=RunSummary,
    responses={200: {"description": "Known already; its description is renewed."}},
    openapi_extra=takes(RunDescription),
)
async def register(request: Request, service: Ingesting) -> Response:
    """Make a run known, or renew the description of a known one."""
    description = await read_model(request, RunDescription, "invalid_run", service.settings)
    row, is_new = await run_in_threadpool(_register, service, description)
    return answer(summary(row), 201 if is_new else 200)


def _register(service: Service, description: RunDescription) -> tuple[RunRow, bool]:
    service.only(description.project)
    with service.database.write() as connection:
        known = runs.load(connection, description.run_id)
        if known is not None:
            service.only(known.project)
        return register_run(connection, description, service.clock())
