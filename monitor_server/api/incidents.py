"""Incidents of one run and of all, one with everything about it, and what a person does about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool

from monitor_server.answers import IncidentDetail, Incidents
from monitor_server.api.bodies import read_model
from monitor_server.api.openapi import takes
from monitor_server.api.service import PREFIX, Commanding, Limit, Reading, Service, answer
from monitor_server.api.stories import detail_of, recorded
from monitor_server.pipeline import UnknownIncident, acknowledge, approve, comment_on, decline, resolve
from monitor_server.pipeline.refusals import IncidentRefused
from monitor_server.storage import incidents
from monitor_server.storage.incidents import StoredIncident
from trainguard.wire import DecisionReport, FindingKind, IncidentState, WireModel
from trainguard.wire.base import Sentence

router = APIRouter(prefix=PREFIX, tags=["incidents"])

States = Annotated[list[IncidentState] | None, Query(description="May be given several times.")]
Kinds = Annotated[list[FindingKind] | None, Query(description="May be given several times.")]
By = Annotated[str, Field(max_length=190)]
"""Who says it; empty: the name of the token, or "a person"."""


class Word(WireModel):
    """A person's word on an incident."""

    by: By = ""
    comment: Sentence = ""


class Comment(WireModel):
    """A comment is not empty."""

    by: By = ""
    comment: Annotated[str, Field(min_length=1, max_length=4000)]


class Verdict(Word):
    """A person's yes or no. With ``decision_id`` it holds for that proposal only, and for none that came later."""

    decision_id: UUID | None = None


CONFLICT: dict[int | str, dict[str, Any]] = {409: {"description": "It cannot be done to the incident as it stands."}}


@router.get("/incidents", response_model=Incidents)
def list_incidents(
    service: Reading,
    run_id: UUID | None = None,
    project: Annotated[str | None, Query(max_length=200)] = None,
    state: States = None,
    kind: Kinds = None,
    limit: Limit = 100,
) -> Response:
    """Incidents of every run, the latest first."""
    with service.database.read() as connection:
        found = incidents.listing(
            connection, run_id=run_id, project=service.only(project), states=state or (), kinds=kind or (), limit=limit
        )
        return answer(Incidents(incidents=recorded(connection, found)))


@router.get("/runs/{run_id}/incidents", response_model=Incidents)
def list_incidents_of_run(
    run_id: UUID, service: Reading, state: States = None, kind: Kinds = None, limit: Limit = 1000
) -> Response:
    """Incidents of one run, the latest first."""
    with service.reading(run_id) as (connection, _):
        found = incidents.listing(connection, run_id=run_id, states=state or (), kinds=kind or (), limit=limit)
        return answer(Incidents(incidents=recorded(connection, found)))


@router.get("/incidents/{incident_id}", response_model=IncidentDetail)
def show_incident(incident_id: UUID, service: Reading) -> Response:
    """One incident with its findings, decisions, commands, acknowledgements and remarks."""
    return answer(_detail(service, incident_id))


@router.post("/incidents/{incident_id}/acknowledge", response_model=IncidentDetail, openapi_extra=takes(Word))
async def acknowledge_incident(incident_id: UUID, request: Request, service: Commanding) -> Response:
    """Say that somebody has seen it. The first one stays."""
    word = await read_model(request, Word, "invalid_word", service.settings)

    def do(connection: Connection, found: StoredIncident) -> None:
        acknowledge(
            connection,
            found.run_id,
            incident_id,
            by=service.caller.signed(word.by),
            now=service.clock(),
            comment=word.comment,
            token_id=service.caller.token_id,
        )

    return await run_in_threadpool(_done, service, incident_id, do)


@router.post("/incidents/{incident_id}/comment", response_model=IncidentDetail, openapi_extra=takes(Comment))
async def comment_on_incident(incident_id: UUID, request: Request, service: Commanding) -> Response:
    """Add a comment."""
    word = await read_model(request, Comment, "invalid_word", service.settings)

    def do(connection: Connection, found: StoredIncident) -> None:
        comment_on(
            connection,
            found.run_id,
            incident_id,
            by=service.caller.signed(word.by),
            now=service.clock(),
            comment=word.comment,
            token_id=service.caller.token_id,
        )

    return await run_in_threadpool(_done, service, incident_id, do)


@router.post(
    "/incidents/{incident_id}/approve", response_model=IncidentDetail, responses=CONFLICT, openapi_extra=takes(Verdict)
)
async def approve_incident(incident_id: UUID, request: Request, service: Commanding) -> Response:
    """Let what is proposed be done; the trainer finds the command in its next receipt."""
    word = await read_model(request, Verdict, "invalid_word", service.settings)

    def do(connection: Connection, found: StoredIncident) -> None:
        approve(
            connection,
            found.run_id,
            _proposal(connection, found, word).decision_id,
            approved_by=service.caller.signed(word.by),
            now=service.clock(),
            ttl_seconds=service.settings.command_ttl_seconds,
            comment=word.comment,
            token_id=service.caller.token_id,
        )

    return await run_in_threadpool(_done, service, incident_id, do)


@router.post(
    "/incidents/{incident_id}/decline", response_model=IncidentDetail, responses=CONFLICT, openapi_extra=takes(Verdict)
)
async def decline_incident(incident_id: UUID, request: Request, service: Commanding) -> Response:
    """Say no to what is proposed: nothing is done, and the same thing is not proposed again."""
    word = await read_model(request, Verdict, "invalid_word", service.settings)

    def do(connection: Connection, found: StoredIncident) -> None:
        decline(
            connection,
            found.run_id,
            _proposal(connection, found, word).decision_id,
            declined_by=service.caller.signed(word.by),
            now=service.clock(),
            comment=word.comment,
            token_id=service.caller.token_id,
        )

    return await run_in_threadpool(_done, service, incident_id, do)


@router.post(
    "/incidents/{incident_id}/resolve", response_model=IncidentDetail, responses=CONFLICT, openapi_extra=takes(Word)
)
async def resolve_incident(incident_id: UUID, request: Request, service: Commanding) -> Response:
    """Close it by hand. If the trouble goes on, it opens a new one."""
    word = await read_model(request, Word, "invalid_word", service.settings)

    def do(connection: Connection, found: StoredIncident) -> None:
        resolve(
            connection,
            found.run_id,
            incident_id,
            by=service.caller.signed(word.by),
            now=service.clock(),
            comment=word.comment,
            token_id=service.caller.token_id,
        )

    return await run_in_threadpool(_done, service, incident_id, do)


def _done(service: Service, incident_id: UUID, do: Callable[[Connection, StoredIncident], None]) -> Response:
    """Do it in one transaction, and answer with the incident as it is then."""
    with service.database.write() as connection:
        found = _visible(service, connection, incident_id)
        do(connection, found)
    return answer(_detail(service, incident_id))


def _detail(service: Service, incident_id: UUID) -> IncidentDetail:
    with service.database.read() as connection:
        found = _visible(service, connection, incident_id)
        return detail_of(connection, found, service.clock())


def _visible(service: Service, connection: Connection, incident_id: UUID) -> StoredIncident:
    found = incidents.find(connection, incident_id, project=service.caller.project)
    if found is None:
        raise UnknownIncident(incident_id)
    return found


def _proposal(connection: Connection, found: StoredIncident, word: Verdict) -> DecisionReport:
    latest = incidents.latest_decision(connection, found.run_id, found.incident.incident_id)
    if latest is None or latest.verdict != "propose":
        raise IncidentRefused(
            "incident_id", "nothing is proposed on this incident; there is nothing to say yes or no to"
        )
    if word.decision_id is not None and word.decision_id != latest.decision_id:
        raise IncidentRefused("decision_id", "a later decision has taken the place of this one; look at the latest")
    return latest
