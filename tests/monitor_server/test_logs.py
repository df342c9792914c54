"""What the service logs, and with which ids."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from uuid import UUID, uuid4

import httpx
import pytest

from monitor_server.app import create_app
from monitor_server.logs import begin_logging
from monitor_server.settings import Settings
from tests.monitor_server.service import AS_JSON, Trainer


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Callable[[], list[str]]:
    return lambda: capsys.readouterr().err.splitlines()


def test_lines_for_people_and_objects_for_programs(lines: Callable[[], list[str]]) -> None:
    begin_logging("text")
    logging.getLogger("trainguard").info("serving %s", "here")
    [line] = lines()
    assert line.endswith("Z INFO trainguard: serving here")
    begin_logging("json")
    try:
        raise ValueError("no")
    except ValueError:
        logging.getLogger("monitor_server").exception("it failed")
    [told] = map(json.loads, lines())
    assert (told["event"], told["level"], told["logger"]) == ("it failed", "error", "monitor_server")
    assert "ValueError: no" in told["exception"]


async def test_an_answer_and_the_log_name_the_request_and_its_run(
    migrated_sqlite: object, lines: Callable[[], list[str]]
) -> None:
    begin_logging("json")
    app = create_app(Settings(database=f"sqlite:///{migrated_sqlite}"))

    @app.get("/api/v1/runs/{run_id}/log")
    async def log(run_id: UUID) -> None:
        logging.getLogger("monitor_server").warning("here")

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        address = f"/api/v1/runs/{(run_id := uuid4())}/log"
        mine = await client.get(address, headers={"x-request-id": "abc-1"})
        assert mine.headers["x-request-id"] == "abc-1"
        made = await client.get(address, headers={"x-request-id": "not an id\t"})
        assert len(made.headers["x-request-id"]) == 32
    first, second = map(json.loads, lines())
    assert (first["request_id"], first["run_id"]) == ("abc-1", str(run_id))
    assert second["request_id"] == made.headers["x-request-id"]


async def test_what_the_thread_of_ingest_logs_names_the_request_too(
    address: str, lines: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr("monitor_server.pipeline.transaction.walk", fail)
    begin_logging("json")
    app = create_app(Settings(database=address))
    trainer = Trainer()
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost/api/v1", headers=AS_JSON) as client,
    ):
        await client.post("/runs", content=trainer.description().model_dump_json())
        answer = await client.post(
            f"/runs/{trainer.run_id}/envelopes",
            content=trainer.steps([1.0]).model_dump_json(),
            headers={"x-request-id": "abc-2"},
        )
        assert answer.status_code == 500
    told = [line for line in map(json.loads, lines()) if "could not be recorded" in line["event"]]
    assert told
    assert {(line["request_id"], line["run_id"]) for line in told} == {("abc-2", str(trainer.run_id))}
