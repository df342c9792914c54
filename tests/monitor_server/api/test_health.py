"""Probes: alive is not the same as able to work."""

from __future__ import annotations

import resource
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from monitor_server import app
from monitor_server.api import readiness
from monitor_server.settings import Settings
from monitor_server.storage import Database, DatabaseUnavailable, schema
from tests.monitor_server import postgres
from tests.monitor_server.api.door import Door, opened, problem
from tests.monitor_server.service import Clock, Trainer


async def test_a_healthy_service_says_so(door: Door) -> None:
    for path in ("/healthz", "/readyz"):
        response = await door.client.get(path)
        assert (response.status_code, response.json()["status"]) == (200, "ok")


async def test_without_its_schema_it_is_alive_and_not_ready(door: Door, settings: Settings) -> None:
    database = Database(settings.database)
    schema.downgrade(database, "base")
    database.close()
    assert (await door.client.get("/healthz")).status_code == 200
    assert "schema" in problem(await door.client.get("/readyz"), 503, "schema_not_current")["detail"]


async def test_without_its_database_everything_but_health_asks_to_come_back(door: Door, settings: Settings) -> None:
    path = Path(settings.database.removeprefix("sqlite:///"))
    door.app.state.service.database.close()
    path.unlink()
    path.mkdir()
    assert (await door.client.get("/healthz")).status_code == 200
    for asked in ("/readyz", "/metrics", "/api/v1/runs", "/api/v1/incidents"):
        response = await door.client.get(asked)
        problem(response, 503, "database_unavailable")
        assert "retry-after" in response.headers
    problem(await door.register(Trainer()), 503, "database_unavailable")


async def test_a_locked_database_asks_trainers_to_come_back_and_takes_their_envelopes_later(
    settings: Settings, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An impatient one, so that the test need not be patient.
    monkeypatch.setattr(app, "Database", partial(Database, busy_timeout_seconds=0.1))
    trainer = Trainer()
    async with opened(settings, clock) as door:
        await door.register(trainer)
        with closing(sqlite3.connect(settings.database.removeprefix("sqlite:///"))) as other:
            other.execute("BEGIN IMMEDIATE")
            envelope = trainer.steps([1.0])
            response = await door.post(f"/runs/{trainer.run_id}/envelopes", envelope)
            assert "locked" in problem(response, 503, "database_unavailable")["detail"]
            problem(await door.register(Trainer()), 503, "database_unavailable")
            assert len((await door.read("/runs"))["runs"]) == 1
        assert (await door.send(envelope)).status == "recorded"


async def test_on_a_full_disk_it_is_not_ready_and_takes_envelopes_later(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "BELIEVED_SECONDS", 0.0)
    await door.register(trainer := Trainer())
    envelope = trainer.steps([1.0, 2.0])
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    # What a disk without room does: no file of this process grows.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, most))
    try:
        not_ready = await door.client.get("/readyz")
        refused = await door.post(f"/runs/{trainer.run_id}/envelopes", envelope)
        listed = await door.client.get("/api/v1/runs")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    problem(not_ready, 503, "database_unavailable")
    problem(refused, 503, "database_unavailable")
    assert len(listed.json()["runs"]) == 1, "what is there can still be read"
    assert (await door.client.get("/readyz")).status_code == 200
    await door.send(envelope)
    assert (await door.read(f"/runs/{trainer.run_id}"))["observations"] == 2


def test_a_database_that_only_reads_takes_nothing(postgres_address: str, migrated_postgres: str) -> None:
    address = postgres.create_database(postgres_address, "only_reads", migrated_postgres)
    name = make_url(address).database
    database = Database(address)
    database.probe_writing()
    with database.write() as connection:
        connection.exec_driver_sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    database.close()
    with pytest.raises(DatabaseUnavailable, match="read-only"):
        database.probe_writing()
    database.ping()
    database.close()


def test_a_database_that_hangs_holds_one_probe_and_no_other(database: Database) -> None:
    clock, hangs, goes_on = Clock(), threading.Event(), threading.Event()
    asked = readiness.Readiness(database, clock=clock)
    asked.require_writing()

    def hang() -> None:
        hangs.set()
        assert goes_on.wait(30)
        raise DatabaseUnavailable("gone")

    database.probe_writing = hang  # type: ignore[method-assign]
    clock.now += 10.0
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(asked.require_writing)
        assert hangs.wait(30)
        asked.require_writing()  # by the answer before
        goes_on.set()
        with pytest.raises(DatabaseUnavailable, match="gone"):
            first.result(30)
    with pytest.raises(DatabaseUnavailable, match="gone"):
        asked.require_writing()


def test_who_asks_often_does_not_write_often(database: Database) -> None:
    clock = Clock()
    asked = readiness.Readiness(database, clock=clock)
    written = []
    probe = database.probe_writing
    database.probe_writing = lambda: (written.append(clock()), probe())[1]  # type: ignore[method-assign]
    for _ in range(50):
        asked.require_writing()
        clock.now += 0.1
    assert len(written) == 3
