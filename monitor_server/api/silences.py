"""Silences: not to be told of a run, a project or a kind of trouble for a while."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated
from uuid import UUID, uuid4

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool

from monitor_server.answers import RecordedSilence, Silences
from monitor_server.api.bodies import read_model
from monitor_server.api.openapi import takes
from monitor_server.api.problems import Problem, refused_field
from monitor_server.api.service import PREFIX, Commanding, Limit, Reading, Service, answer
from monitor_server.pipeline import silence, unsilence
from monitor_server.storage import runs, silences
from monitor_server.storage.silences import Silence
from trainguard.wire import FindingKind, WireModel
from trainguard.wire.base import Sentence
from trainguard.wire.run_description import Name

router = APIRouter(prefix=PREFIX, tags=["silences"])

LONGEST_SECONDS = 90 * 86_400.0


class WishedSilence(WireModel):
    """What is not to be told: at least one of run, project and kind; all that are given must fit."""

    run_id: UUID | None = None
    project: Name | None = None
    kind: FindingKind | None = None
    seconds: Annotated[float, Field(gt=0, le=LONGEST_SECONDS, allow_inf_nan=False)]
    created_by: Annotated[str, Field(max_length=190)] = ""
    reason: Sentence = ""


@router.get("/silences", response_model=Silences)
def list_silences(
    service: Reading,
    run_id: UUID | None = None,
    project: Annotated[str | None, Query(max_length=200)] = None,
    ended: Annotated[bool, Query(description="Those that have ended, too.")] = False,
    limit: Limit = 1000,
) -> Response:
    """Silences in force. One of a kind alone covers every run."""
    with service.database.read() as connection:
        found = silences.listing(
            connection, now=service.clock(), ended_too=ended, run_id=run_id, project=service.only(project), limit=limit
        )
    return answer(Silences(silences=[_told(one) for one in found]))


@router.post("/silences", status_code=201, response_model=RecordedSilence, openapi_extra=takes(WishedSilence))
async def begin_silence(request: Request, service: Commanding) -> Response:
    """Tell nobody for a while. Decisions are made as before, and an escalation is told all the same."""
    wish = await read_model(request, WishedSilence, "invalid_silence", service.settings)
    if wish.run_id is None and wish.project is None and wish.kind is None:
        raise refused_field(422, "invalid_silence", "run_id", "say what to be silent about: run_id, project or kind")
    return answer(_told(await run_in_threadpool(_begin, service, wish)), 201)


@router.delete("/silences/{silence_id}", status_code=204, response_class=Response)
def lift_silence(silence_id: UUID, service: Commanding) -> Response:
    """Be told again, from now on."""
    with service.database.write() as connection:
        found = silences.load(connection, silence_id)
        if found is None or not _is_visible(service, connection, found):
            raise Problem(
                404, "unknown_silence", f"there is no silence {silence_id}; /api/v1/silences lists those there are"
            )
        unsilence(
            connection, found, by=service.caller.signed(""), now=service.clock(), token_id=service.caller.token_id
        )
    return Response(status_code=204)


def _begin(service: Service, wish: WishedSilence) -> Silence:
    now = service.clock()
    wished = Silence(
        silence_id=uuid4(),
        created_at=now,
        ends_at=now + wish.seconds,
        created_by=service.caller.signed(wish.created_by),
        reason=wish.reason,
        run_id=wish.run_id,
        project=wish.project if wish.run_id is not None else service.only(wish.project),
        kind=wish.kind,
    )
    with service.database.write() as connection:
        if wished.run_id is not None:
            service.visible(connection, wished.run_id)
        silence(connection, wished, now=now, token_id=service.caller.token_id)
    return wished


def _is_visible(service: Service, connection: Connection, one: Silence) -> bool:
    if one.run_id is not None:
        run = runs.load(connection, one.run_id)
        return run is not None and service.caller.may_see(run.project)
    return service.caller.may_see(one.project or "") if one.project is not None else service.caller.project is None


def _told(one: Silence) -> RecordedSilence:
    return RecordedSilence.model_validate(asdict(one))
