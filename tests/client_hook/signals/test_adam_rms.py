"""The lead of the gradient over Adam's second moment, against the definition over all elements."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from tests.client_hook.signals.test_update_ratio import Sized
from tests.client_hook.signals.watching import Watch, loss_of, seeded


def by_definition(optimizer: torch.optim.Optimizer) -> float:
    total, count = 0.0, 0
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is None:
                continue
            state = optimizer.state[parameter]
            corrected = state["exp_avg_sq"].double() / (1 - group["betas"][1] ** float(state["step"]))
            total += float((parameter.grad.double() ** 2 / corrected.clamp_min(group["eps"] ** 2)).sum())
            count += parameter.numel()
    return math.sqrt(total / count)


@pytest.mark.parametrize("fused", [False, True])
def test_it_is_the_definition_on_small_models(fused: bool) -> None:
    model = seeded()
    groups = [{"params": [p for p in model.parameters() if p.requires_grad][:2], "betas": (0.8, 0.9)}]
    groups += [{"params": [p for p in model.parameters() if p.requires_grad][2:]}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, fused=fused)
    watch = Watch(model, optimizer)
    for step in range(8):
        optimizer.zero_grad()
        (loss_of(model, step) * (50.0 if step == 7 else 1.0)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        assert watch.observe()["adam_rms"] == pytest.approx(by_definition(optimizer), rel=1e-3)


def test_of_a_larger_model_the_sample_is_near_the_whole() -> None:
    model = seeded(Sized)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    watch = Watch(model, optimizer)
    for step in range(6):
        optimizer.zero_grad()
        loss_of(model, step).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        value = watch.observe()["adam_rms"]
    assert value == pytest.approx(by_definition(optimizer), rel=0.1)


def test_an_optimizer_without_second_moments_has_none() -> None:
    model = nn.Linear(3, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch(model, optimizer)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    assert "adam_rms" not in watch.observe()
