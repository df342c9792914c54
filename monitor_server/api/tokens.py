"""Tokens by API, for those who have one of scope admin. The first one is made by `trainguard token create`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from monitor_server.access import MadeToken, Scope, make_token, renew_token
from monitor_server.access.secrets import GRACE_SECONDS
from monitor_server.answers import NewToken, RecordedToken, Tokens
from monitor_server.api.bodies import read_model
from monitor_server.api.openapi import takes
from monitor_server.api.problems import Problem
from monitor_server.api.service import PREFIX, Administering, Service, answer
from monitor_server.pipeline import keep_token, renew, revoke
from monitor_server.storage import tokens
from monitor_server.storage.tokens import TokenRow
from trainguard.wire import WireModel
from trainguard.wire.run_description import Name

router = APIRouter(prefix=PREFIX, tags=["tokens"])

LONGEST_SECONDS = 10 * 365 * 86_400.0


class WishedToken(WireModel):
    """A token to be made; without ``seconds`` it never expires, without ``project`` it is good for all."""

    name: Name
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1, max_length=4)]
    project: Name | None = None
    seconds: Annotated[float, Field(gt=0, le=LONGEST_SECONDS, allow_inf_nan=False)] | None = None


class Rotation(WireModel):
    """How long the former secret is good, so that running trainers are not shut out."""

    grace_seconds: Annotated[float, Field(ge=0, le=90 * 86_400, allow_inf_nan=False)] = GRACE_SECONDS


@router.get("/tokens", response_model=Tokens)
def list_tokens(service: Administering) -> Response:
    """Every token with its state and last use, never with its secret."""
    service.require_every_project()
    with service.database.read() as connection:
        rows = tokens.listing(connection)
    return answer(Tokens(tokens=[_told(service, row) for row in rows]))


@router.post("/tokens", status_code=201, response_model=NewToken, openapi_extra=takes(WishedToken))
async def create_token(request: Request, service: Administering) -> Response:
    """Make a token. Its secret is in this answer, and never again in any other."""
    wish = await read_model(request, WishedToken, "invalid_token", service.settings)
    service.require_every_project()
    made = make_token(
        wish.name,
        wish.scopes,
        now=service.clock(),
        created_by=service.caller.signed(""),
        project=wish.project,
        lifetime_seconds=wish.seconds,
    )

    def keep() -> None:
        with service.database.write() as connection:
            keep_token(connection, made.row, by=service.caller.signed(""), token_id=service.caller.token_id)

    await run_in_threadpool(keep)
    return _shown(service, made, 201)


@router.post("/tokens/{token_id}/rotate", response_model=NewToken, openapi_extra=takes(Rotation))
async def rotate_token(token_id: str, request: Request, service: Administering) -> Response:
    """Give a token a new secret; the former one is good for a while more."""
    wish = await read_model(request, Rotation, "invalid_rotation", service.settings)
    service.require_every_project()
    made = await run_in_threadpool(_rotate, service, token_id, wish.grace_seconds)
    return _shown(service, made, 200)


@router.delete("/tokens/{token_id}", status_code=204, response_class=Response)
def revoke_token(token_id: str, service: Administering) -> Response:
    """Never let it in again. Other processes of the service hear of it within seconds."""
    service.require_every_project()
    with service.database.write() as connection:
        row = _known(tokens.load(connection, token_id, locked=True), token_id)
        by = service.caller.signed("")
        revoke(connection, row, now=service.clock(), by=by, by_token=service.caller.token_id)
    service.keeper.forget()
    return Response(status_code=204)


def _rotate(service: Service, token_id: str, grace_seconds: float) -> MadeToken:
    now = service.clock()
    with service.database.write() as connection:
        row = _known(tokens.load(connection, token_id, locked=True), token_id)
        if row.revoked_at is not None:
            raise Problem(409, "token_revoked", f"token {row.name!r} was revoked; make a new one")
        made = renew_token(row, now=now, grace_seconds=grace_seconds)
        renew(connection, made.row, now=now, by=service.caller.signed(""), by_token=service.caller.token_id)
    return made


def _known(row: TokenRow | None, token_id: str) -> TokenRow:
    if row is None:
        raise Problem(404, "unknown_token", f"there is no token {token_id}; /api/v1/tokens lists those there are")
    return row


def _shown(service: Service, made: MadeToken, status: int) -> Response:
    service.keeper.forget()
    response = answer(NewToken(**dict(_told(service, made.row)), token=made.word), status)
    response.headers["cache-control"] = "no-store"
    return response


def _told(service: Service, row: TokenRow) -> RecordedToken:
    return RecordedToken(
        token_id=row.token_id,
        name=row.name,
        project=row.project,
        scopes=list(row.scopes),
        state=row.state(service.clock()),
        created_at=row.created_at,
        created_by=row.created_by,
        expires_at=row.expires_at,
        rotated_at=row.rotated_at,
        former_until=row.former_until,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
    )
