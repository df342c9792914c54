"""What every route works with, put together once by the composition root."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, cast
from uuid import UUID

from fastapi import Depends, Query, Request, Response
from pydantic import BaseModel
from sqlalchemy import Connection

from monitor_server.live import EventFeed
from monitor_server.pipeline import Ingest, UnknownRun
from monitor_server.settings import Settings
from monitor_server.storage import Database, RunRow, runs
from monitor_server.telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class Service:
    """The pieces behind the door."""

    settings: Settings
    database: Database
    ingest: Ingest
    telemetry: Telemetry
    feed: EventFeed
    clock: Callable[[], float]

    @contextmanager
    def reading(self, run_id: UUID) -> Iterator[tuple[Connection, RunRow]]:
        """One consistent picture of a run. Raises `UnknownRun`."""
        with self.database.read() as connection:
            row = runs.load(connection, run_id)
            if row is None:
                raise UnknownRun(run_id)
            yield connection, row


def the_service(request: Request) -> Service:
    """The service of this application."""
    return cast(Service, request.app.state.service)


Serving = Annotated[Service, Depends(the_service)]
Limit = Annotated[int, Query(ge=1, le=10_000, description="At most so many.")]


def answer(model: BaseModel, status: int = 200) -> Response:
    """JSON as the wire writes it: NaN and the infinities are strings, which `JSONResponse` would refuse."""
    return Response(model.model_dump_json(), status, media_type="application/json")
