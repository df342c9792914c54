"""What every route works with, put together once by the composition root."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Annotated, Literal, cast
from uuid import UUID

from fastapi import Depends, Query, Request, Response, Security
from fastapi.security import HTTPBearer
from pydantic import BaseModel
from sqlalchemy import Connection

from monitor_server.access import Caller, Forbidden, Keeper, Scope
from monitor_server.access.caller import ANYBODY
from monitor_server.api.readiness import Readiness
from monitor_server.live import EventFeed
from monitor_server.pipeline import Ingest, UnknownRun
from monitor_server.settings import Settings
from monitor_server.storage import Database, RunRow, runs
from monitor_server.telemetry import Telemetry

PREFIX = "/api/v1"
"""What every path begins with, but those of health and metrics."""


@dataclass(frozen=True, slots=True)
class Service:
    """The pieces behind the door."""

    settings: Settings
    database: Database
    ingest: Ingest
    telemetry: Telemetry
    feed: EventFeed
    keeper: Keeper
    clock: Callable[[], float]
    readiness: Readiness
    caller: Caller = ANYBODY
    """Who is asking: set for every request by `Reading` and its siblings."""

    @contextmanager
    def reading(self, run_id: UUID) -> Iterator[tuple[Connection, RunRow]]:
        """One consistent picture of a run. Raises `UnknownRun`."""
        with self.database.read() as connection:
            yield connection, self.visible(connection, run_id)

    def visible(self, connection: Connection, run_id: UUID) -> RunRow:
        """The run's row. Raises `UnknownRun`, also where it is none of the caller's business."""
        row = runs.load(connection, run_id)
        if row is None or not self.caller.may_see(row.project):
            raise UnknownRun(run_id)
        return row

    def locked(self, connection: Connection, run_id: UUID) -> RunRow:
        """The run's row, locked until the transaction ends. Raises as `visible` does."""
        row = runs.lock(connection, [run_id]).get(run_id)
        if row is None or not self.caller.may_see(row.project):
            raise UnknownRun(run_id)
        return row

    def only(self, project: str | None) -> str | None:
        """The project to look at: what is asked for, within what the caller may see. Raises `Forbidden`."""
        if project is not None and not self.caller.may_see(project):
            raise Forbidden(f"token {self.caller.name!r} is for project {self.caller.project!r} alone")
        return project if self.caller.project is None else self.caller.project

    def require_every_project(self) -> None:
        """Raise `Forbidden` where the caller is bound to one project."""
        if self.caller.project is not None:
            raise Forbidden(f"token {self.caller.name!r} is for project {self.caller.project!r} alone; this is of all")


def the_service(request: Request) -> Service:
    """The service of this application, for whoever asks."""
    return cast(Service, request.app.state.service)


def _admitted(
    scope: Scope, kind: Literal["request", "envelope"] = "request"
) -> Callable[[Request, object], Awaitable[Service]]:
    async def admitted(request: Request, _: Annotated[object, Security(_BEARER)]) -> Service:
        return await admit(request, scope, kind)

    return admitted


async def admit(request: Request, scope: Scope, kind: Literal["request", "envelope"] = "request") -> Service:
    """The service as the sender of this request may use it. Raises what `Keeper.admit` does."""
    service = the_service(request)
    caller = await service.keeper.admit(request, scope, kind)
    return service if caller is service.caller else replace(service, caller=caller)


_BEARER = HTTPBearer(auto_error=False, scheme_name="token", description="A token: `tg_…`; none where none was made.")

Serving = Annotated[Service, Depends(the_service)]
"""Open to everybody: health, and nothing else."""
Reading = Annotated[Service, Depends(_admitted("read"))]
Commanding = Annotated[Service, Depends(_admitted("command"))]
Ingesting = Annotated[Service, Depends(_admitted("ingest"))]
IngestingEnvelopes = Annotated[Service, Depends(_admitted("ingest", "envelope"))]
Administering = Annotated[Service, Depends(_admitted("admin"))]
Limit = Annotated[int, Query(ge=1, le=10_000, description="At most so many.")]


def answer(model: BaseModel, status: int = 200) -> Response:
    """JSON as the wire writes it: NaN and the infinities are strings, which `JSONResponse` would refuse."""
    return Response(model.model_dump_json(), status, media_type="application/json")
