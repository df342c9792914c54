"""The service with its doors, and a trainer's way of knocking: the real application, without a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
from fastapi import FastAPI
from pydantic import BaseModel

from monitor_server.app import create_app
from monitor_server.settings import Settings
from tests.monitor_server.service import DIVERGING, HEALTHY, Clock, Trainer
from trainguard.wire import CheckpointReport, Envelope, Receipt

JSON = {"content-type": "application/json"}


class Door:
    """What one may ask of the application."""

    def __init__(self, app: FastAPI, client: httpx.AsyncClient) -> None:
        self.app = app
        self.client = client

    async def post(self, path: str, body: BaseModel | bytes | str, headers: Mapping[str, str] = JSON) -> httpx.Response:
        content = body.model_dump_json() if isinstance(body, BaseModel) else body
        return await self.client.post(f"/api/v1{path}", content=content, headers=headers)

    async def register(self, trainer: Trainer) -> httpx.Response:
        return await self.post("/runs", trainer.description())

    async def send(self, envelope: Envelope) -> Receipt:
        response = await self.post(f"/runs/{envelope.run_id}/envelopes", envelope)
        assert response.status_code == 200, response.text
        return Receipt.model_validate_json(response.content)

    async def read(self, path: str, **query: Any) -> Any:
        response = await self.client.get(f"/api/v1{path}", params=query)
        assert response.status_code == 200, response.text
        return response.json()

    async def metrics(self) -> str:
        response = await self.client.get("/metrics")
        assert response.status_code == 200, response.text
        return response.text

    async def diverge(self, trainer: Trainer) -> tuple[Receipt, list[CheckpointReport]]:
        """Register, train in health, diverge; the last receipt, with the command if the mode allows one."""
        await self.register(trainer)
        known = [trainer.checkpoint(0), trainer.checkpoint(200)]
        await self.send(trainer.steps(HEALTHY, checkpoints=known))
        return await self.send(trainer.steps(DIVERGING)), known


@asynccontextmanager
async def opened(settings: Settings, clock: Clock) -> AsyncIterator[Door]:
    """The application from start-up to shut-down."""
    app = create_app(settings, clock=clock)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        yield Door(app, client)


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem in an answer, after a look at its shape."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    told: dict[str, Any] = response.json()
    assert (response.status_code, told["status"], told["code"]) == (status, status, code), response.text
    assert told["detail"]
    assert all(error.keys() == {"field", "message"} for error in told["errors"])
    return told


def fields(told: dict[str, Any]) -> list[str]:
    """The fields that a problem names."""
    return [error["field"] for error in told["errors"]]
