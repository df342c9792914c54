"""What a set-up shows only while it runs: in the description after fifty steps, and in the doctor's advice."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch import nn

import client_hook
from client_hook.practice import STEPS
from trainguard.policy.diagnosis import advise


def train(steps: int = STEPS, *, clip: str = "", parts: int = 1, per_part: bool = False) -> client_hook.TrainingHook:
    torch.manual_seed(0)
    model = nn.Linear(8, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 1_000)
    hook = client_hook.attach(
        model,
        optimizer,
        run="practice",
        mode="observe",
        scheduler=scheduler,
        synchronous=True,
        tags={"task": "pre-training"},
    )
    for _ in range(steps):
        for _ in range(parts):
            loss: Any = (model(torch.randn(4, 8)) - 3).square().mean() / parts
            loss.backward()
            if parts > 1:
                hook.accumulate(loss)
        if clip == "the hook's":
            hook.clip_grad_norm_(0.5)
        elif clip:
            norm = nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        for _ in range(parts if per_part else 1):
            scheduler.step()
        hook.observe(None if parts > 1 else loss, **({"grad_norm": norm} if clip == "told" else {}))
        optimizer.zero_grad()
    return hook


def told_of(hook: client_hook.TrainingHook) -> dict[str, Any]:
    hook.close()
    return dict(hook._description.config)


@pytest.mark.parametrize("clip", ["the hook's", "torch's", "told"])
def test_clipping_is_seen_and_at_which_norm(clip: str) -> None:
    hook = train(clip=clip)
    assert told_of(hook)["clipping"] == {"seen": True, "max_norm": 0.5}
    assert not advise(hook._description)


def test_what_is_missing_is_said_once_it_is_certain(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert "clipping" not in told_of(train(STEPS - 1))
    assert not any("No clipping" in message for message in caplog.messages)
    hook = train(STEPS + 10)
    assert told_of(hook)["clipping"] == {"seen": False, "max_norm": None}
    assert [advice.setting for advice in advise(hook._description)] == ["clipping"]
    assert sum("No clipping" in message for message in caplog.messages) == 1
    assert hook._worker._description.config == hook._description.config


@pytest.mark.parametrize("per_part", [False, True], ids=["per update", "per micro-batch"])
def test_a_schedule_that_is_stepped_per_micro_batch_is_seen(per_part: bool) -> None:
    hook = train(clip="the hook's", parts=4, per_part=per_part)
    config = told_of(hook)
    assert config["accumulation"] == 4
    assert config["schedule_steps_per_update"] == (4.0 if per_part else 1.0)
    assert [(advice.setting, advice.weight) for advice in advise(hook._description)] == [
        ("scheduler", "warning")
    ] * per_part
