"""What people say of a run: tags, notes, and that it is put away. Guarded by an ETag, so that nobody's word is lost."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Request, Response
from pydantic import Field, StringConstraints
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool

from monitor_server.answers import RunAnnotation
from monitor_server.api.bodies import read_model
from monitor_server.api.etags import PRECONDITION, refuse_stale, tagged
from monitor_server.api.openapi import takes
from monitor_server.api.service import PREFIX, Administering, Commanding, Reading, Service
from monitor_server.pipeline import annotate, delete_run
from monitor_server.storage import notes
from monitor_server.storage.notes import Annotation
from trainguard.wire import WireModel

router = APIRouter(prefix=PREFIX, tags=["runs"])

TagName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
TagValue = Annotated[str, Field(max_length=1000)]


class AnnotationChange(WireModel):
    """What is to change; what is left out stays. ``tags`` replace all that people gave before."""

    tags: Annotated[dict[TagName, TagValue], Field(max_length=64)] | None = None
    notes: Annotated[str, Field(max_length=20_000)] | None = None
    archived: bool | None = None


@router.get("/runs/{run_id}/annotations", response_model=RunAnnotation)
def show_annotations(
    run_id: UUID, service: Reading, if_none_match: Annotated[str, Header(max_length=1000)] = ""
) -> Response:
    """Tags and notes of people; those of the trainer are in the run's description."""
    with service.reading(run_id) as (connection, _):
        return tagged(_told(_known(connection, run_id)), if_none_match)


@router.patch(
    "/runs/{run_id}/annotations",
    response_model=RunAnnotation,
    responses=PRECONDITION,
    openapi_extra=takes(AnnotationChange),
)
async def change_annotations(
    run_id: UUID, request: Request, service: Commanding, if_match: Annotated[str, Header(max_length=1000)] = ""
) -> Response:
    """Change tags or notes, put the run away or fetch it back. With `If-Match` only if nobody has changed it since."""
    change = await read_model(request, AnnotationChange, "invalid_annotation", service.settings)
    return tagged(await run_in_threadpool(_change, service, run_id, change, if_match))


@router.delete(
    "/runs/{run_id}",
    status_code=204,
    response_class=Response,
    responses={409: {"description": "It is still running."}},
)
def remove_run(run_id: UUID, service: Administering) -> Response:
    """Delete a run that has ended, with everything that belongs to it. Nothing brings it back."""
    with service.reading(run_id):
        pass
    caller = service.caller
    delete_run(service.database, run_id, by=caller.signed(""), now=service.clock(), token_id=caller.token_id)
    return Response(status_code=204)


def _change(service: Service, run_id: UUID, change: AnnotationChange, if_match: str) -> RunAnnotation:
    now = service.clock()
    with service.database.write() as connection:
        # Behind the run's lock, so that of two who read the same state only one may change it.
        run = service.locked(connection, run_id)
        known = _known(connection, run_id)
        refuse_stale(_told(known), if_match)
        archived_at = known.archived_at
        if change.archived is not None:
            archived_at = (known.archived_at or now) if change.archived else None
        changed = Annotation(
            run_id=run_id,
            tags=known.tags if change.tags is None else change.tags,
            notes=known.notes if change.notes is None else change.notes,
            archived_at=archived_at,
            changed_at=now,
            changed_by=service.caller.signed(""),
        )
        annotate(connection, run, changed, token_id=service.caller.token_id)
    return _told(changed)


def _known(connection: Connection, run_id: UUID) -> Annotation:
    return notes.of_runs(connection, [run_id]).get(run_id, Annotation(run_id))


def _told(one: Annotation) -> RunAnnotation:
    return RunAnnotation(
        tags=dict(one.tags),
        notes=one.notes,
        archived_at=one.archived_at,
        changed_at=one.changed_at or None,
        changed_by=one.changed_by,
    )
