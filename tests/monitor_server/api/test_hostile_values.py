"""Every field of a message, in turn, holding what no trainer would send: never a 500, never a lost neighbour."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from monitor_server.settings import Settings
from tests.monitor_server.api.door import Door, problem
from tests.monitor_server.service import Trainer
from trainguard.wire import Envelope, RunDescription

GOLDEN = Path(__file__).parents[2] / "wire" / "golden" / "v1"
HOSTILE: tuple[Any, ...] = (
    None,
    -1,
    2**63,
    10**400,
    float("nan"),
    "a\x00b\u2028",
    "x" * 5000,
    [],
    {"": {"": [None]}},
)


@pytest.fixture
def settings(address: str) -> Settings:
    """On both databases: they differ in what they refuse."""
    return Settings.model_validate({"database": address})


def read(name: str) -> Any:
    return json.loads((GOLDEN / f"{name}.json").read_text())


def places(told: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything in a message, of lists only the first element."""
    if path:
        yield path
    if isinstance(told, dict):
        for name, value in told.items():
            yield from places(value, (*path, name))
    elif isinstance(told, list) and told:
        yield from places(told[0], (*path, 0))


def spoiled(told: Any, path: tuple[Any, ...], value: Any) -> bytes:
    changed = copy.deepcopy(told)
    parent = changed
    for part in path[:-1]:
        parent = parent[part]
    parent[path[-1]] = value
    return json.dumps(changed).encode()


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: repr(value)[:12])
async def test_no_value_anywhere_in_an_envelope_breaks_the_service(door: Door, value: Any) -> None:
    told = read("Envelope")
    description = {**read("RunDescription"), "run_id": told["run_id"]}
    assert (await door.post("/runs", json.dumps(description))).status_code == 201
    neighbour = Trainer()
    await door.register(neighbour)
    for path in places(told):
        response = await door.post(f"/runs/{told['run_id']}/envelopes", spoiled(told, path, value))
        assert response.status_code in (200, 422), (path, response.text)
        if response.status_code == 422:
            problem(response, 422, "invalid_envelope")
        # Each that was taken used up its sequence; the next is to be judged, not recognised.
        told["sequence"] += 1
        assert (await door.send(neighbour.steps([1.0]))).status == "recorded"
    assert (await door.send(Envelope.model_validate(told))).status == "recorded"
    for part in ("", "/observations", "/observations/rows", "/attempts", "/findings", "/incidents", "/decisions"):
        await door.read(f"/runs/{told['run_id']}{part}")
    for part in ("/commands", "/acknowledgements", "/checkpoints", "/evaluations"):
        await door.read(f"/runs/{told['run_id']}{part}")
    await door.metrics()
    run = await door.read(f"/runs/{neighbour.run_id}")
    assert run["observations"] == neighbour.sequence


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: repr(value)[:12])
async def test_no_value_anywhere_in_a_description_breaks_the_service(door: Door, value: Any) -> None:
    told = read("RunDescription")
    for path in places(told):
        response = await door.post("/runs", spoiled(told, path, value))
        assert response.status_code in (200, 201, 422), (path, response.text)
        if response.status_code == 422:
            problem(response, 422, "invalid_run")
    assert (await door.post("/runs", RunDescription.model_validate(told))).status_code in (200, 201)
    assert len((await door.read("/runs"))["runs"]) == 1
    await door.metrics()


@pytest.mark.parametrize(
    "value", ["\x00", "a\x00b", "%", "'; --", "x" * 5000, "\udcff".encode("utf-8", "surrogateescape")]
)
async def test_no_value_in_a_query_breaks_the_service(door: Door, value: str | bytes) -> None:
    trainer = Trainer()
    await door.register(trainer)
    for path in (
        "/runs",
        f"/runs/{trainer.run_id}/observations",
        f"/runs/{trainer.run_id}/observations/rows",
        "/incidents",
    ):
        for name in ("project", "name", "state", "cursor", "signals", "kind", "run_id", "limit", "attempt"):
            response = await door.client.get(f"/api/v1{path}?{name}={quote(value)}")
            assert response.status_code in (200, 422), (path, name, response.text)
