"""Silences quiet what people are told, never what is decided."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from monitor_server.settings import Settings
from monitor_server.storage import notifications
from tests.monitor_server.api.door import Door, fields, opened, problem
from tests.monitor_server.service import Clock, Trainer


@pytest.fixture
async def door(settings: Settings, clock: Clock) -> AsyncIterator[Door]:
    """With somewhere to send to, so that notices are written into the outbox."""
    with_receiver = Settings(database=settings.database, webhook_url="http://127.0.0.1:9/")
    async with opened(with_receiver, clock) as door:
        yield door


async def begin(door: Door, body: str) -> str:
    response = await door.post("/silences", body)
    assert response.status_code == 201, response.text
    return str(response.json()["silence_id"])


def told(door: Door, trainer: Trainer) -> list[str]:
    """What people are to be told of the run's divergence."""
    with door.app.state.service.database.read() as connection:
        posted = notifications.of_run(connection, trainer.run_id, 10)
    return [one["event"] for one in posted if one["document"]["incident"]["kind"] == "divergence"]


@pytest.mark.parametrize(
    "wish",
    [
        '{{"run_id": "{run_id}", "seconds": 60}}',
        '{{"project": "demo", "seconds": 60}}',
        '{{"kind": "divergence", "seconds": 60}}',
        '{{"kind": "divergence", "project": "demo", "seconds": 60}}',
    ],
)
async def test_a_silence_covers_what_it_names_and_the_decision_is_made_all_the_same(door: Door, wish: str) -> None:
    trainer = Trainer(mode="advise")
    await door.register(trainer)
    await begin(door, wish.format(run_id=trainer.run_id))
    await door.diverge(trainer)
    assert told(door, trainer) == []
    (incident,) = (await door.read(f"/runs/{trainer.run_id}/incidents", kind="divergence"))["incidents"]
    assert (await door.read(f"/incidents/{incident['incident_id']}"))["silenced"]


@pytest.mark.parametrize(
    "wish",
    [
        '{"project": "another", "seconds": 60}',
        '{"kind": "plateau", "seconds": 60}',
        '{"kind": "divergence", "project": "another", "seconds": 60}',
    ],
)
async def test_a_silence_leaves_alone_what_does_not_fit(door: Door, wish: str) -> None:
    trainer = Trainer(mode="advise")
    await begin(door, wish)
    await door.diverge(trainer)
    assert "opened" in told(door, trainer)


async def test_a_silence_ends_by_itself_or_when_lifted(door: Door, clock: Clock) -> None:
    brief = await begin(door, '{"project": "demo", "seconds": 60, "created_by": "ada", "reason": "Moving house."}')
    long = await begin(door, '{"kind": "plateau", "seconds": 6000}')
    clock.now += 61
    assert [one["silence_id"] for one in (await door.read("/silences"))["silences"]] == [long]
    ended = (await door.read("/silences", ended=True, project="demo"))["silences"]
    assert [(one["silence_id"], one["created_by"], one["reason"]) for one in ended] == [(brief, "ada", "Moving house.")]
    assert (await door.client.delete(f"/api/v1/silences/{long}")).status_code == 204
    assert (await door.read("/silences"))["silences"] == []
    problem(await door.client.delete(f"/api/v1/silences/{long}"), 404, "unknown_silence")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"seconds": 60}', "run_id"),
        ('{"project": "demo"}', "seconds"),
        ('{"project": "demo", "seconds": 0}', "seconds"),
        ('{"project": "demo", "seconds": "NaN"}', "seconds"),
        ('{"kind": "boredom", "seconds": 60}', "kind"),
    ],
)
async def test_a_wish_that_makes_no_sense_is_refused_by_field(door: Door, body: str, field: str) -> None:
    assert fields(problem(await door.post("/silences", body), 422, "invalid_silence")) == [field]


async def test_there_must_be_such_a_run(door: Door) -> None:
    problem(await door.post("/silences", f'{{"run_id": "{uuid4()}", "seconds": 60}}'), 404, "unknown_run")
