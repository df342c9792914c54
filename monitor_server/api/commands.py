"""Commands: what was ordered, and a person's own orders."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from monitor_server.answers import Commands, RecordedCommand
from monitor_server.api.bodies import read_model
from monitor_server.api.openapi import takes
from monitor_server.api.service import PREFIX, Commanding, Limit, Reading, Service, answer
from monitor_server.pipeline import approve, order
from monitor_server.storage import commands
from trainguard.wire import Command, Order, WireModel
from trainguard.wire.base import Sentence

router = APIRouter(prefix=PREFIX, tags=["commands"])

Person = Annotated[str, Field(max_length=190)]


class PersonalCommand(WireModel):
    """Orders that a person gives; they are applied together or not at all."""

    orders: Annotated[tuple[Order, ...], Field(min_length=1, max_length=16)]
    issued_by: Person = ""
    """Empty: the name of the token, or "a person"."""
    reason: Sentence = ""


class Approval(WireModel):
    """A person agrees to what a decision proposed."""

    approved_by: Person = ""
    """Empty: the name of the token, or "a person"."""


@router.get("/runs/{run_id}/commands", response_model=Commands)
def list_commands(run_id: UUID, service: Reading, limit: Limit = 1000) -> Response:
    """The latest commands with what became of them, in the order of issue."""
    with service.reading(run_id) as (connection, _):
        stored = commands.of_run(connection, run_id, limit)
    found = [RecordedCommand(**dict(one.command), state=one.state, settled_at=one.settled_at) for one in stored]
    return answer(Commands(commands=found))


@router.post(
    "/runs/{run_id}/commands",
    status_code=201,
    response_model=RecordedCommand,
    responses={409: {"description": "The run does not allow it, or does not know what it names."}},
    openapi_extra=takes(PersonalCommand),
)
async def give_command(run_id: UUID, request: Request, service: Commanding) -> Response:
    """Order something on the attempt and revision in force; the trainer finds it in its next receipt."""
    given = await read_model(request, PersonalCommand, "invalid_command", service.settings)
    return _accepted(await run_in_threadpool(_order, service, run_id, given))


@router.post(
    "/runs/{run_id}/decisions/{decision_id}/approval",
    status_code=201,
    response_model=RecordedCommand,
    responses={409: {"description": "There is nothing (any more) to approve."}},
    openapi_extra=takes(Approval),
)
async def approve_decision(run_id: UUID, decision_id: UUID, request: Request, service: Commanding) -> Response:
    """Let what mode ``advise`` proposed be done."""
    given = await read_model(request, Approval, "invalid_approval", service.settings)
    return _accepted(await run_in_threadpool(_approve, service, run_id, decision_id, given))


def _order(service: Service, run_id: UUID, given: PersonalCommand) -> Command:
    with service.database.write() as connection:
        service.visible(connection, run_id)
        return order(
            connection,
            run_id,
            orders=list(given.orders),
            issued_by=service.caller.signed(given.issued_by),
            token_id=service.caller.token_id,
            reason=given.reason,
            now=service.clock(),
            ttl_seconds=service.settings.command_ttl_seconds,
        )


def _approve(service: Service, run_id: UUID, decision_id: UUID, given: Approval) -> Command:
    with service.database.write() as connection:
        service.visible(connection, run_id)
        return approve(
            connection,
            run_id,
            decision_id,
            approved_by=service.caller.signed(given.approved_by),
            token_id=service.caller.token_id,
            now=service.clock(),
            ttl_seconds=service.settings.command_ttl_seconds,
        )


def _accepted(command: Command) -> Response:
    return answer(RecordedCommand(**dict(command)), 201)
