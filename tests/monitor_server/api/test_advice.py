"""Advice on a run's set-up, as the service answers it."""

from __future__ import annotations

from tests.monitor_server.api.door import Door, fields, problem
from tests.monitor_server.service import Trainer

CONFIG = {
    "optimizers": [{"name": "AdamW", "groups": [{"lr": 1e-3, "weight_decay": 5.0}]}],
    "schedulers": ["OneCycleLR"],
}


def carelessly_set_up() -> Trainer:
    return Trainer(run="careless", checkpoint_every=100, config=CONFIG, tags={"task": "pre-training"})


async def test_advice_is_given_for_the_task_that_the_run_names_or_the_reader(door: Door) -> None:
    trainer = carelessly_set_up()
    await door.register(trainer)
    told = await door.read(f"/runs/{trainer.run_id}/advice")
    assert (told["run"], told["task"]) == ("careless", "pre-training")
    assert [(one["setting"], one["weight"]) for one in told["advice"]] == [("weight_decay", "warning")]
    told = await door.read(f"/runs/{trainer.run_id}/advice", task="fine-tuning")
    assert {one["setting"] for one in told["advice"]} == {"learning_rate", "weight_decay"}


async def test_an_incident_is_read_with_its_diagnosis(door: Door) -> None:
    trainer = carelessly_set_up()
    await door.diverge(trainer)
    [incident] = (await door.read("/incidents"))["incidents"]
    causes = {one["cause"]: one for one in incident["diagnosis"]}
    assert "weight_decay_too_strong" in causes
    assert all(one["next_step"] for one in causes.values())


async def test_an_unknown_task_is_refused_by_name(door: Door) -> None:
    trainer = carelessly_set_up()
    await door.register(trainer)
    refused = await door.client.get(f"/api/v1/runs/{trainer.run_id}/advice", params={"task": "cooking"})
    assert fields(problem(refused, 422, "invalid_request")) == ["task"]
