"""A trainer introduces itself, well or badly."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest

from tests.monitor_server.api.door import Door, fields, problem
from tests.monitor_server.service import Trainer


def described(**changes: Any) -> bytes:
    return json.dumps({"run_id": str(uuid4()), "run": "gpt", "started_at": 0, **changes}).encode()


async def test_a_new_run_is_created_and_a_known_one_renewed(door: Door) -> None:
    trainer = Trainer(run="first", mode="observe")
    first = await door.register(trainer)
    assert (first.status_code, first.json()["run"], first.json()["state"]) == (201, "first", "running")
    again = await door.post("/runs", trainer.description().model_copy(update={"run": "second", "mode": "act"}))
    assert (again.status_code, again.json()["run"], again.json()["mode"]) == (200, "second", "act")
    listed = await door.read("/runs")
    assert [run["run"] for run in listed["runs"]] == ["second"]


async def test_fields_of_a_newer_trainer_are_ignored(door: Door) -> None:
    assert (await door.post("/runs", described(added_in_wire_version_7={"a": 1}))).status_code == 201


async def test_whatever_a_configuration_holds_comes_back(door: Door) -> None:
    config = {"nothing": None, "nul": "a\x00b", "huge": 10**40, "deep": [[[{"x": [1.5]}]]], "emoji": "🔥"}
    body = described(config=config)
    assert (await door.post("/runs", body)).status_code == 201
    run_id = json.loads(body)["run_id"]
    assert (await door.read(f"/runs/{run_id}"))["description"]["config"] == config


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"run": ""}, "run"),
        ({"run": "a\nb"}, "run"),
        ({"run": "x" * 201}, "run"),
        ({"run": 7}, "run"),
        ({"run_id": "mine"}, "run_id"),
        ({"mode": "maybe"}, "mode"),
        ({"started_at": "NaN"}, "started_at"),
        ({"total_steps": -1}, "total_steps"),
        ({"total_steps": "1e400"}, "total_steps"),
        ({"world_size": 0}, "world_size"),
        ({"tags": {"a": 1}}, "tags.a"),
        ({"playbook": {"ladders": {"gremlins": {}}}}, "playbook"),
    ],
)
async def test_a_bad_description_is_refused_by_field(door: Door, changes: dict[str, Any], field: str) -> None:
    told = problem(await door.post("/runs", described(**changes)), 422, "invalid_run")
    assert fields(told)[0].startswith(field)
    assert (await door.read("/runs"))["runs"] == []


@pytest.mark.parametrize("body", [b"[]", b"null", b"3", b'"run"'])
async def test_json_that_is_no_object_is_refused(door: Door, body: bytes) -> None:
    problem(await door.post("/runs", body), 422, "invalid_run")
