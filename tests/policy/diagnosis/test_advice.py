"""Advice at attach time: what somebody who knows would say on seeing the set-up."""

from __future__ import annotations

import pytest
import torch
from pydantic import JsonValue
from torch import nn

from client_hook.configuration import described
from tests.policy.diagnosis.patients import run
from trainguard.policy.diagnosis import Task, advise
from trainguard.wire import RunDescription


@pytest.mark.parametrize(
    ("description", "settings"),
    [
        (run(), set()),
        (run("SGD", lr=0.1, momentum=0.9, weight_decay=5e-4, task="cnn"), set()),
        (run(lr=0.5), {"learning_rate"}),
        (run(lr=0.0, schedulers=[]), {"learning_rate", "scheduler"}),
        (run(lr=0.0), set()),
        (run(lr=3e-3, task="fine-tuning"), {"learning_rate"}),
        (run(schedulers=[]), {"scheduler"}),
        (run(schedulers=[], total_steps=50), set()),
        (run(betas=[0.9, 0.999], parameters=7_000_000_000), {"betas"}),
        (run("SGD", lr=0.1, momentum=0.99), {"momentum"}),
        (run("Adam", weight_decay=0.01), {"weight_decay"}),
        (run(weight_decay=5.0), {"weight_decay"}),
        (run(precision="float16"), {"precision"}),
        (run(precision="float16", eps=1e-8), {"precision", "eps"}),
        (run(lr=1e-5, schedulers=[], task="fine-tuning", total_steps=300), {"scheduler"}),
        (run(precision="bfloat16"), {"precision"}),
        (run(trainable=0), {"parameters"}),
        (run().model_copy(update={"mode": "act", "checkpoint_every": None}), {"checkpoints"}),
        (run("Muon", lr=0.02), set()),
    ],
)
def test_what_is_said_of_a_set_up(description: RunDescription, settings: set[str]) -> None:
    assert {advice.setting for advice in advise(description)} == settings


@pytest.mark.parametrize(
    ("practice", "task", "settings"),
    [
        ({"clipping": {"seen": False, "max_norm": None}}, "pre-training", {"clipping"}),
        ({"clipping": {"seen": False, "max_norm": None}}, "cnn", set()),
        ({"clipping": {"seen": True, "max_norm": 1.0}, "schedule_steps_per_update": 1.0}, "pre-training", set()),
        ({"clipping": {"seen": True, "max_norm": 1e-4}}, "pre-training", {"clipping"}),
        ({"accumulation": 8, "schedule_steps_per_update": 8.0}, "cnn", {"scheduler"}),
        ({"accumulation": None, "schedule_steps_per_update": 0.02}, "cnn", set()),
        ({"clipping": "yes", "accumulation": "4", "schedule_steps_per_update": []}, "pre-training", set()),
    ],
    ids=["unclipped", "unclipped cnn", "clipped", "clipped to nothing", "per micro-batch", "per epoch", "nonsense"],
)
def test_what_is_said_of_how_it_is_run(practice: dict[str, JsonValue], task: str, settings: set[str]) -> None:
    described = run(task=task)
    described = described.model_copy(update={"config": {**described.config, **practice}})
    assert {advice.setting for advice in advise(described)} == settings


def test_a_task_named_by_hand_goes_before_the_tag() -> None:
    task: Task = "fine-tuning"
    assert not advise(run(lr=1e-3, task="pre-training"))
    [advice] = advise(run(lr=1e-3, task="pre-training"), task=task)
    assert (advice.setting, advice.weight) == ("learning_rate", "warning")


def test_warnings_come_first() -> None:
    assert [advice.weight for advice in advise(run(lr=0.5, schedulers=[]))] == ["warning", "note"]


def test_a_configuration_that_is_nonsense_is_simply_not_known() -> None:
    for config in ({}, {"optimizers": "AdamW"}, {"optimizers": [7, {"groups": [None, {"lr": "fast", "betas": 3}]}]}):
        assert not advise(RunDescription(run_id=run().run_id, run="x", started_at=0.0, config=config))


def test_it_understands_what_the_hook_writes() -> None:
    model = nn.Linear(3, 2).requires_grad_(False)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.9, weight_decay=0.1)
    config = described(model, [optimizer], [], None)
    description = RunDescription(run_id=run().run_id, run="x", started_at=0.0, config=config)
    assert {advice.setting for advice in advise(description)} == {
        "learning_rate", "scheduler", "weight_decay", "parameters",
    }  # fmt: skip


def test_a_head_that_no_optimizer_owns_is_named() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    optimizer = torch.optim.AdamW(model[0].parameters())
    config = described(model, [optimizer], [], None)
    said = advise(run().model_copy(update={"config": {**run().config, **config, "schedulers": ["LambdaLR"]}}))
    [advice] = [one for one in said if one.setting == "parameters"]
    assert advice.weight == "warning"
    assert "1.weight, 1.bias; they will not change" in advice.statement
    model[1].requires_grad_(False)
    assert described(model, [optimizer], [], None)["unowned_parameters"] == []
