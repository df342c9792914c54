"""Every error is a problem+json, wherever it comes from."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from unittest.mock import patch

import pytest
from starlette.types import Message

from monitor_server import storage
from monitor_server.api import envelopes
from monitor_server.pipeline import Overloaded
from monitor_server.settings import Settings
from tests.monitor_server.api.door import Door, problem
from tests.monitor_server.running import Running
from tests.monitor_server.service import Trainer
from trainguard.wire import Envelope


@pytest.mark.parametrize("path", ["/nothing", "/api/v1", "/api/v1/nothing", "/static/nothing.js", "/runs", "/%00"])
async def test_there_is_nothing_at_an_unknown_path(door: Door, path: str) -> None:
    told = problem(await door.client.get(path), 404, "not_found")
    assert path in told["detail"].replace("\x00", "%00")


async def test_another_method_is_refused(door: Door) -> None:
    problem(await door.client.delete("/api/v1/runs"), 405, "method_not_allowed")
    response = await door.client.get(f"/api/v1/runs/{Trainer().run_id}/envelopes")
    problem(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "POST"
    problem(await door.client.post("/"), 405, "method_not_allowed")


async def test_a_full_line_asks_to_come_back(door: Door) -> None:
    trainer = Trainer()
    await door.register(trainer)
    ingest = door.app.state.service.ingest

    def full(envelope: Envelope) -> Future[object]:
        raise Overloaded("1000 envelopes wait for their commit already")

    with patch.object(ingest, "submit", full):
        response = await door.post(f"/runs/{trainer.run_id}/envelopes", trainer.steps([1.0]))
    problem(response, 503, "overloaded")
    assert float(response.headers["retry-after"]) > 0
    assert 'trainguard_envelopes_total{status="failed"} 1.0' in await door.metrics()


async def test_a_commit_that_does_not_come_is_not_waited_for_for_ever(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer()
    await door.register(trainer)
    monkeypatch.setattr(envelopes, "COMMIT_WITHIN_SECONDS", 0.05)
    with patch.object(door.app.state.service.ingest, "submit", lambda envelope: Future()):
        response = await door.post(f"/runs/{trainer.run_id}/envelopes", trainer.steps([1.0]))
    problem(response, 503, "overloaded")


async def test_a_trainer_that_dies_while_it_sends_is_no_mistake_of_ours(door: Door) -> None:
    trainer = Trainer()
    await door.register(trainer)
    path = f"/api/v1/runs/{trainer.run_id}/envelopes"
    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers}
    arriving: Iterator[Message] = iter(
        [{"type": "http.request", "body": b'{"run', "more_body": True}, {"type": "http.disconnect"}]
    )
    told: list[Message] = []

    async def receive() -> Message:
        return next(arriving)

    async def send(message: Message) -> None:
        told.append(message)

    await door.app(scope, receive, send)
    assert told[0]["status"] == 400
    assert 'trainguard_envelopes_total{status="refused"} 1.0' in await door.metrics()


async def test_our_own_mistake_is_a_problem_that_tells_no_secrets(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    trainer = Trainer()
    await door.register(trainer)

    def broken(envelope: Envelope) -> Future[object]:
        raise RuntimeError("password is swordfish")

    with patch.object(door.app.state.service.ingest, "submit", broken):
        response = await door.post(f"/runs/{trainer.run_id}/envelopes", trainer.steps([1.0]))
    assert "swordfish" not in response.text
    problem(response, 500, "internal_error")
    assert response.headers["x-request-id"]
    (logged,) = [one for one in caplog.records if one.message == "a request failed"]
    assert logged.exc_info


def test_our_own_mistake_costs_nobody_the_connection(tmp_path: Path, migrated_sqlite: Path) -> None:
    path = tmp_path / "trainguard.db"
    shutil.copyfile(migrated_sqlite, path)
    running = Running(Settings(database=f"sqlite:///{path}"))
    try:
        with patch.object(storage.runs, "listing", side_effect=RuntimeError("oh")):
            answers = [running.client.get("/runs") for _ in range(2)]
        assert [one.status_code for one in answers] == [500, 500]
        assert not any(one.headers.get("connection") == "close" for one in answers)
        first, second = (one.extensions["network_stream"].get_extra_info("client_addr") for one in answers)
        assert first == second
    finally:
        running.stop()
