"""Live updates as server-sent events, right whichever process answers: every stream reads the event table itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.sse import EventSourceResponse
from starlette.concurrency import run_in_threadpool

from monitor_server.api.problems import busy
from monitor_server.api.service import PREFIX, Reading, Service
from monitor_server.api.watch import Watch
from monitor_server.pipeline.broadcast import EventKind

router = APIRouter(prefix=PREFIX, tags=["events"])

MOST_PROGRESS = 200
"""Runs whose progress one stream tells: more than a page shows."""


async def _seat(service: Reading) -> AsyncIterator[None]:
    """One of the places for those who follow, until the answer has ended, however it ends."""
    if not service.feed.take_seat(service.settings.event_streams):
        raise busy("too_many_streams", f"{service.settings.event_streams} follow live already; come back later")
    try:
        yield
    finally:
        service.feed.leave_seat()


@router.get(
    "/events",
    # Not EventSourceResponse: by that class FastAPI takes the function for a generator of its own kind of stream.
    response_class=Response,
    dependencies=[Depends(_seat)],
    responses={
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "The stream."},
        503: {"description": "So many follow already; come back later."},
    },
)
async def follow(
    service: Reading,
    run_id: Annotated[UUID | None, Query(description="Only of this run, and its progress with it.")] = None,
    project: Annotated[str | None, Query(description="Only of this project.", max_length=200)] = None,
    progress: Annotated[
        list[UUID] | None, Query(description="The progress of these runs, too.", max_length=MOST_PROGRESS)
    ] = None,
    kind: Annotated[list[EventKind] | None, Query(description="May be given several times.")] = None,
    last_event_id: Annotated[str, Query(description="Where no header can be set.", max_length=60)] = "",
    last_seen: Annotated[str, Header(alias="last-event-id", max_length=60)] = "",
) -> Response:
    """Follow what changes: `event` is its kind, `data` tells it as it is now, `id` is what to come back with.

    The first event is `connected`. A `progress` comes whenever the run of `run_id`, or one of those of `progress`, has
    made steps, at most once a second. `reset` says that too much was missed: read everything again. A comment every
    15 s keeps the connection open.
    """
    if run_id is not None:
        await run_in_threadpool(_require, service, run_id)
    watch = Watch(
        service.database,
        service.feed,
        service.clock,
        run_id=run_id,
        project=service.only(project),
        kinds=tuple(kind or ()),
        progress_of=frozenset((*(progress or ()), *([] if run_id is None else [run_id]))),
        is_welcome=lambda: service.keeper.is_still_welcome(service.caller),
    )
    headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
    return EventSourceResponse(watch.stream(last_seen or last_event_id), headers=headers)


def _require(service: Service, run_id: UUID) -> None:
    with service.reading(run_id):
        pass
