"""The page's way in: a token becomes a cookie that no script can read and no other site can send."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import Field

from monitor_server.access import Caller, NotSignedIn
from monitor_server.access.caller import ANYBODY
from monitor_server.access.keeper import COOKIE
from monitor_server.answers import Session
from monitor_server.api.bodies import read_model
from monitor_server.api.openapi import takes
from monitor_server.api.service import PREFIX, Service, Serving, answer
from trainguard.wire import WireModel

router = APIRouter(prefix=PREFIX, tags=["session"])

LONGEST_SECONDS = 30 * 86_400


class SignIn(WireModel):
    """A token of scope read at least."""

    token: Annotated[str, Field(min_length=1, max_length=200)]


@router.get("/session", response_model=Session)
async def show_session(request: Request, service: Serving) -> Response:
    """Whether one has to sign in here, and as whom one is."""
    try:
        caller = await service.keeper.admit(request, "read")
    except NotSignedIn:
        return answer(Session(needs_token=True, name=None, scopes=[], project=None))
    return answer(await _told(service, caller))


@router.post("/session", response_model=Session, openapi_extra=takes(SignIn))
async def sign_in(request: Request, service: Serving) -> Response:
    """Keep a token in a cookie: HttpOnly, SameSite=Strict, for this browser."""
    given = await read_model(request, SignIn, "invalid_sign_in", service.settings)
    if not await service.keeper.is_needed():
        return answer(await _told(service, ANYBODY))
    address = request.client.host if request.client else ""
    caller = await service.keeper.recognise(given.token.strip(), address)
    response = answer(await _told(service, caller))
    response.set_cookie(
        COOKIE,
        given.token.strip(),
        max_age=LONGEST_SECONDS,
        path="/",
        httponly=True,
        samesite="strict",
        # Behind a proxy with TLS we are asked over plain HTTP: what people see counts.
        secure=request.url.scheme == "https" or service.settings.page_url.startswith("https:"),
    )
    return response


@router.delete("/session", status_code=204, response_class=Response)
async def sign_out() -> Response:
    """Forget the cookie. The token itself stays good; revoke it where it may be known to others."""
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return response


async def _told(service: Service, caller: Caller) -> Session:
    return Session(
        needs_token=await service.keeper.is_needed(),
        name=caller.name or None,
        scopes=sorted(caller.scopes),
        project=caller.project,
    )
