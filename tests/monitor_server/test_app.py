"""The composition root: quick to make, whole when it runs, gone when it ends."""

from __future__ import annotations

import asyncio
import math
import threading
from pathlib import Path

import pytest

from monitor_server.app import create_app
from monitor_server.settings import Settings
from monitor_server.storage import Database, SchemaError
from tests.monitor_server.api.door import opened, problem
from tests.monitor_server.service import HEALTHY, Clock, Trainer


def threads() -> set[str]:
    """The service's own; tests of the hook may have run in this process before."""
    names = {thread.name for thread in threading.enumerate() if thread.name.startswith("trainguard")}
    return names - {"trainguard-ranks", "trainguard-delivery"}


def test_making_it_touches_nothing(tmp_path: Path) -> None:
    create_app(Settings(database=f"sqlite:///{tmp_path / 'not' / 'yet.db'}"))
    assert list(tmp_path.iterdir()) == []
    assert threads() == set()


async def test_an_empty_database_gets_its_schema_and_every_thread_ends_with_the_service(
    tmp_path: Path, clock: Clock
) -> None:
    async with opened(Settings(database=f"sqlite:///{tmp_path / 'new.db'}"), clock) as door:
        assert (await door.client.get("/readyz")).status_code == 200
        assert threads() == {"trainguard-ingest", "trainguard-courier", "trainguard-housekeeper"}
    assert threads() == set()


async def test_the_whole_way_is_the_same_on_both_databases(address: str, clock: Clock) -> None:
    trainer = Trainer()
    async with opened(Settings.model_validate({"database": address}), clock) as door:
        receipt, known = await door.diverge(trainer)
        await door.send(trainer.obey(receipt.commands[0], known))
        await door.send(trainer.steps((math.nan, *HEALTHY[:249])))
        path = f"/runs/{trainer.run_id}"
        run = await door.read(path)
        assert (run["attempt"], run["step"], run["observations"], run["rollbacks"]) == (1, 449, 590, 1)
        (listed,) = (await door.read("/runs", loss_points=20, state="running", name="char-gpt"))["runs"]
        assert len(listed["recent_loss"]["steps"]) == 20
        abandoned, kept = (await door.read(f"{path}/observations", points=50))["attempts"]
        assert (sum(abandoned["counts"]), sum(kept["counts"])) == (340, 250)
        assert sum(kept["signals"]["loss"]["nan_count"]) == 1
        for part in ("attempts", "findings", "incidents", "decisions", "commands", "acknowledgements", "checkpoints"):
            assert (await door.read(f"{path}/{part}"))[part]
        rolled_back = f'trainguard_run_rollbacks_total{{project="demo",run="char-gpt",run_id="{trainer.run_id}"}} 1.0'
        assert rolled_back in await door.metrics()
        assert (await door.client.get("/readyz")).status_code == 200


async def test_what_was_acknowledged_is_there_after_a_restart_and_what_waits_is_finished_first(
    tmp_path: Path, clock: Clock
) -> None:
    settings = Settings(database=f"sqlite:///{tmp_path / 'kept.db'}")
    trainer = Trainer()
    async with opened(settings, clock) as door:
        await door.register(trainer)
        sent = [await door.send(trainer.steps([1.0, 2.0])) for _ in range(3)]
        waiting = door.app.state.service.ingest.submit(trainer.steps([3.0]))
    assert [receipt.status for receipt in sent] == ["recorded"] * 3
    assert (await asyncio.wrap_future(waiting)).receipt.status == "recorded"
    async with opened(settings, clock) as door:
        assert (await door.read(f"/runs/{trainer.run_id}"))["observations"] == 7


async def test_after_the_end_nothing_is_taken(tmp_path: Path, clock: Clock) -> None:
    trainer = Trainer()
    async with opened(Settings(database=f"sqlite:///{tmp_path / 'x.db'}"), clock) as door:
        await door.register(trainer)
        door.app.state.service.ingest.stop()
        response = await door.post(f"/runs/{trainer.run_id}/envelopes", trainer.steps([1.0]))
        assert "closing" in problem(response, 503, "overloaded")["detail"]


async def test_a_newer_database_is_refused_at_start(tmp_path: Path, clock: Clock) -> None:
    settings = Settings(database=f"sqlite:///{tmp_path / 'newer.db'}")
    async with opened(settings, clock):
        pass
    database = Database(settings.database)
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    with pytest.raises(SchemaError, match="newer version"):
        async with opened(settings, clock):
            pass
    assert threads() == set()
