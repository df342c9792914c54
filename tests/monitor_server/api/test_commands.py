"""A person's orders, and a person's yes to what was proposed."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.monitor_server.api.door import Door, fields, problem
from tests.monitor_server.service import Trainer

LOWER = {"action": "lower_learning_rate", "factor": 0.5}


async def give(door: Door, trainer: Trainer, *orders: dict[str, Any], **more: Any) -> httpx.Response:
    return await door.post(f"/runs/{trainer.run_id}/commands", json.dumps({"orders": orders, **more}))


async def test_a_persons_command_reaches_the_trainer_in_the_next_receipt(door: Door) -> None:
    trainer = Trainer()
    await door.register(trainer)
    await door.send(trainer.steps([1.0]))
    response = await give(door, trainer, LOWER, issued_by="ada", reason="too hot")
    assert response.status_code == 201, response.text
    told = response.json()
    assert (told["state"], told["issued_by"], told["attempt"], told["revision"]) == ("pending", "ada", 0, 0)
    (command,) = (await door.send(trainer.steps([1.0]))).commands
    assert (str(command.command_id), command.reason) == (told["command_id"], "too hot")
    await door.send(trainer.obey(command, []))
    (listed,) = (await door.read(f"/runs/{trainer.run_id}/commands"))["commands"]
    assert (listed["state"], listed["orders"]) == ("applied", [LOWER])


@pytest.mark.parametrize(
    ("order", "field"),
    [
        ({"action": "explode"}, "orders.0.action"),
        ({}, "orders.0"),
        ({"action": "lower_learning_rate"}, "orders.0.lower_learning_rate.factor"),
        ({"action": "lower_learning_rate", "factor": 2}, "orders.0.lower_learning_rate.factor"),
        ({"action": "lower_learning_rate", "factor": "NaN"}, "orders.0.lower_learning_rate.factor"),
        ({"action": "rollback", "checkpoint_id": "newest"}, "orders.0.rollback.checkpoint_id"),
        ({"action": "rollback", "checkpoint_id": str(uuid4())}, "orders.0.checkpoint_id"),
        ({"action": "skip_data_window", "batches": 0}, "orders.0.skip_data_window.batches"),
    ],
)
async def test_a_bad_order_is_refused_by_field(door: Door, order: dict[str, Any], field: str) -> None:
    trainer = Trainer()
    await door.register(trainer)
    told = problem(await give(door, trainer, order), 422, "invalid_command")
    assert fields(told)[0].startswith(field)
    assert (await door.send(trainer.steps([1.0]))).commands == []


async def test_no_orders_are_no_command(door: Door) -> None:
    trainer = Trainer()
    await door.register(trainer)
    assert fields(problem(await give(door, trainer), 422, "invalid_command")) == ["orders"]


async def test_a_run_that_is_only_observed_or_has_ended_takes_no_command(door: Door) -> None:
    observed, ended = Trainer(mode="observe"), Trainer()
    for trainer in (observed, ended):
        await door.register(trainer)
        await door.send(trainer.steps([1.0]))
    await door.send(ended.envelope(state="finished"))
    assert "observe" in problem(await give(door, observed, LOWER), 409, "command_refused")["detail"]
    assert "finished" in problem(await give(door, ended, LOWER), 409, "command_refused")["detail"]
    problem(await give(door, Trainer(), LOWER), 404, "unknown_run")


async def test_what_advise_proposed_is_done_when_a_person_approves(door: Door) -> None:
    trainer = Trainer(mode="advise")
    receipt, known = await door.diverge(trainer)
    assert receipt.commands == []
    path = f"/runs/{trainer.run_id}/decisions"
    (proposal,) = (await door.read(path))["decisions"]
    assert proposal["verdict"] == "propose"
    approval = f"{path}/{proposal['decision_id']}/approval"
    response = await door.post(approval, '{"approved_by": "ada"}')
    assert response.status_code == 201, response.text
    (command,) = (await door.send(trainer.envelope())).commands
    assert command.action == "rollback"
    problem(await door.post(approval, "{}"), 409, "command_refused")
    await door.send(trainer.obey(command, known))
    assert (await door.read(f"/runs/{trainer.run_id}"))["active_incident"]["state"] == "watching"


async def test_there_must_be_something_to_approve(door: Door) -> None:
    trainer = Trainer()
    await door.register(trainer)
    path = f"/runs/{trainer.run_id}/decisions/{uuid4()}/approval"
    problem(await door.post(path, "{}"), 409, "command_refused")
    problem(await door.post(f"/runs/{uuid4()}/decisions/{uuid4()}/approval", "{}"), 404, "unknown_run")
    problem(await door.post(path, '{"approved_by": 3}'), 422, "invalid_approval")
