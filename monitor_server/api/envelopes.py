"""Envelope in, receipt out: the one message that trainers send all day."""

from __future__ import annotations

import asyncio
import time
from uuid import UUID

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from monitor_server.api.bodies import read_model
from monitor_server.api.openapi import takes
from monitor_server.api.problems import busy, problem_of, refused_field
from monitor_server.api.service import PREFIX, IngestingEnvelopes, Service, admit, answer
from trainguard.wire import Envelope, Receipt

COMMIT_WITHIN_SECONDS = 30.0
"""Longer than a trainer waits; then it sends the envelope again, and finds it recorded or not."""


class DirectRoute(APIRoute):
    """Calls `receive` with the arguments that FastAPI would find: to find them takes it as long as to read an envelope.

    Whatever is not quite as trainers write it goes the usual way, and is told there what is wrong.
    """

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer an envelope."""
        run_id = _as_written(scope["path_params"]["run_id"])
        if scope["method"] != "POST" or run_id is None:
            await super().handle(scope, receive, send)
            return
        request = Request(scope, receive, send)
        answered = await self.endpoint(run_id, request, await admit(request, "ingest", "envelope"))
        await answered(scope, receive, send)


router = APIRouter(prefix=PREFIX, tags=["trainers"], route_class=DirectRoute)


@router.post("/runs/{run_id}/envelopes", response_model=Receipt, openapi_extra=takes(Envelope))
async def receive(run_id: UUID, request: Request, service: IngestingEnvelopes) -> Response:
    """Record an envelope, once, and answer with the commands of the run. The receipt leaves after the commit."""
    began = time.perf_counter()
    try:
        receipt = await _receipt(run_id, request, service)
    except Exception as error:
        status = "refused" if problem_of(request, error).status < 500 else "failed"
        service.telemetry.envelope(status, time.perf_counter() - began)
        raise
    service.telemetry.envelope(receipt.status, time.perf_counter() - began)
    return answer(receipt)


async def _receipt(run_id: UUID, request: Request, service: Service) -> Receipt:
    envelope = await read_model(request, Envelope, "invalid_envelope", service.settings)
    if envelope.run_id != run_id:
        message = f"the body names run {envelope.run_id}, the address {run_id}; send it to its own run"
        raise refused_field(422, "invalid_envelope", "run_id", message)
    if service.caller.project is not None:
        await run_in_threadpool(_require, service, run_id)
    future = asyncio.wrap_future(service.ingest.submit(envelope))
    try:
        case = await asyncio.wait_for(future, COMMIT_WITHIN_SECONDS)
    except asyncio.TimeoutError:
        raise busy("overloaded", f"no commit within {COMMIT_WITHIN_SECONDS:g} s; send the envelope again") from None
    assert case.receipt is not None, "the last stage writes it"
    return case.receipt


def _as_written(told: str) -> UUID | None:
    """The id, where it is written as `str` writes one: 8-4-4-4-12 lower-case digits."""
    try:
        run_id = UUID(told)
    except ValueError:
        return None
    return run_id if str(run_id) == told else None


def _require(service: Service, run_id: UUID) -> None:
    with service.reading(run_id):
        pass
