"""Envelopes with something wrong in them, by the thousand: each is taken or refused with a sentence, never a 5xx."""

from __future__ import annotations

import copy
import json
import os
import random
from collections import Counter
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from monitor_server.app import create_app
from monitor_server.settings import Settings
from monitor_server.storage import Database, runs
from monitor_server.storage.tables import findings, observations, senders
from monitor_server.storage.tables import runs as runs_table
from tests.monitor_server.service import AS_JSON, Trainer, block_of

# `MUTATED_ENVELOPES=10000` sends as many on each database as the goal names; the suite is content with fewer.
MANY = int(os.environ.get("MUTATED_ENVELOPES", "400"))

VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**53, 2**63, 2**64, -(2**63) - 1, 1e308, -1e308, 1e-320, 10**400, 0.5,
    "", "NaN", "Infinity", "-Infinity", "nan", "\x00", "a\x00b", "\ud800", "é" * 300, "x" * 5000, "1", "true",
    [], [[]], [None], {}, {"": None}, {"loss": []}, [1, 2, 3], ["NaN"] * 10, {"a": {"b": {"c": []}}},
]  # fmt: skip


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of everything in a document."""
    found = [path] if path else []
    if isinstance(document, dict):
        for key, value in document.items():
            found += places(value, (*path, key))
    if isinstance(document, list):
        for index, value in enumerate(document):
            found += places(value, (*path, index))
    return found


def at(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        document = document[key]
    return document


def mutate(document: dict[str, Any], chance: random.Random) -> bytes:
    """The document with one to three faults: a value replaced, left out, doubled or moved, or the text itself cut."""
    for _ in range(chance.randint(1, 3)):
        path = chance.choice(places(document) or [()])
        if not path:
            break
        holder = at(document, path[:-1])
        fault = chance.randrange(5)
        if fault == 2:
            del holder[path[-1]]
        elif fault == 3 and isinstance(holder, list):
            holder.insert(chance.randrange(len(holder) + 1), copy.deepcopy(holder[path[-1]]))
        elif fault == 4:
            holder[path[-1]] = json.loads(json.dumps(at(document, chance.choice(places(document)))))
        else:
            # A copy: a later mutation would change the value itself, and in the end put it into itself.
            holder[path[-1]] = copy.deepcopy(chance.choice(VALUES))
    text = json.dumps(document).encode()
    if chance.random() < 0.03:
        cut = chance.randrange(len(text))
        text = text[:cut] + chance.choice([b"", b"\xff", b"}", b"\x00"]) + text[cut + chance.randrange(3) :]
    return text


def whole(trainer: Trainer, chance: random.Random) -> dict[str, Any]:
    """An envelope in order, the next of its trainer, with a bit of everything."""
    losses = [2.0 + chance.random() for _ in range(4)]
    block = block_of(trainer.attempt, trainer.step, losses, grad_norm=[1.0, None, 2.0, 1.0], **{"my/one": losses})
    envelope = trainer.envelope(blocks=[block], checkpoints=[trainer.checkpoint(trainer.step)])
    document: dict[str, Any] = json.loads(envelope.model_dump_json())
    document["evaluations"] = [{"attempt": 0, "step": trainer.step, "evaluated_at": 1.0, "values": {"val_loss": 1.0}}]
    return document


async def test_no_mutation_makes_a_5xx_or_harms_the_database(address: str, caplog: pytest.LogCaptureFixture) -> None:
    chance = random.Random(20_261_125)
    app = create_app(Settings(database=address))
    statuses: Counter[int] = Counter()
    trainers = [Trainer() for _ in range(20)]
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=AS_JSON) as client,
    ):
        for trainer in trainers:
            await client.post("/api/v1/runs", content=trainer.description().model_dump_json())
        for number in range(MANY):
            trainer = trainers[number % len(trainers)]
            body = mutate(whole(trainer, chance), chance)
            answer = await client.post(f"/api/v1/runs/{trainer.run_id}/envelopes", content=body)
            statuses[answer.status_code] += 1
            assert answer.status_code < 500, (answer.text[:500], body[:2000])
            if answer.status_code == 200:
                trainer.step += 4
            else:
                # It never arrived, as far as its trainer knows: the number is used again.
                trainer.sequence -= 1
                assert answer.headers["content-type"] == "application/problem+json"
                assert answer.json()["detail"]
        # Each run is still served.
        for trainer in trainers:
            envelope = trainer.envelope(attempt=2**31 - 1, sequence=2**53 - 1)
            answer = await client.post(f"/api/v1/runs/{trainer.run_id}/envelopes", content=envelope.model_dump_json())
            assert answer.status_code == 200, answer.text
    assert statuses[200] > MANY // 20
    assert statuses[422] > MANY // 5
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
    _is_consistent(address, trainers)


def _is_consistent(address: str, trainers: list[Trainer]) -> None:
    """Counts agree with rows, and nothing belongs to a run or an attempt that is not there."""
    database = Database(address)
    with database.read() as connection:
        for trainer in trainers:
            row = runs.load(connection, trainer.run_id)
            assert row is not None
            counted = select(func.count(), func.max(observations.c.attempt))
            count, last_attempt = connection.execute(counted.where(observations.c.run_id == trainer.run_id)).one()
            assert row.observations_total == count
            assert last_attempt is None or last_attempt <= row.attempt
            sent = select(func.count()).select_from(senders).where(senders.c.run_id == trainer.run_id)
            assert connection.execute(sent).scalar_one() >= 1
            found = select(func.count()).where(findings.c.run_id == trainer.run_id, findings.c.source == "server")
            assert connection.execute(found).scalar_one() <= sum(row.finding_counts.values())
        assert connection.execute(select(func.count()).select_from(runs_table)).scalar_one() == len(trainers)
    database.close()
