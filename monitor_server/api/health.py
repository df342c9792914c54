"""Is it up, can it work, and what does it count: for probes and for Prometheus."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Response

from monitor_server.answers import Health
from monitor_server.api.problems import Problem
from monitor_server.api.service import Reading, Serving, answer
from monitor_server.storage import SchemaError
from monitor_server.storage.schema import require_current
from trainguard import __version__

router = APIRouter(tags=["health"])


@router.get("/healthz", response_model=Health)
async def healthz() -> Response:
    """The process answers; nothing else is asked."""
    return answer(Health(version=__version__))


@router.get("/readyz", response_model=Health)
def readyz(service: Serving) -> Response:
    """The database answers, has this version's schema and takes what is written to it: 503 until then."""
    with service.database.read() as connection:
        try:
            require_current(connection)
        except SchemaError as error:
            raise Problem(503, "schema_not_current", str(error)) from None
    service.readiness.require_writing()
    return answer(Health(version=__version__))


@router.get("/metrics", response_class=Response)
def metrics(service: Reading, accept: Annotated[str, Header()] = "") -> Response:
    """For Prometheus; 503 while the database is away, so that ``up`` tells of it."""
    service.require_every_project()
    page, media_type = service.telemetry.exposition(accept)
    return Response(page, headers={"content-type": media_type})
