"""Under a GradScaler: true norms, skipped steps, and the scale itself."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from tests.client_hook.signals.watching import Watch, gradient_norm, loss_of, poison, seeded

SCALE = 1024.0


def scaled(is_fused: bool) -> tuple[nn.Module, torch.optim.Optimizer, Any, Watch]:
    model = seeded()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, fused=is_fused, foreach=False if is_fused else None)
    scaler = torch.amp.GradScaler("cpu", init_scale=SCALE, growth_interval=1_000_000)
    return model, optimizer, scaler, Watch(model, optimizer, scaler=scaler)


def true_norm(step: int) -> float:
    model = seeded()
    loss_of(model, step).backward()  # type: ignore[no-untyped-call]
    return gradient_norm(model)


@pytest.mark.parametrize("is_fused", [False, True], ids=["plain", "fused"])
@pytest.mark.parametrize("unscales", [False, True], ids=["scaler unscales", "loop unscales"])
def test_the_norm_is_that_of_the_unscaled_gradients(is_fused: bool, unscales: bool) -> None:
    model, optimizer, scaler, watch = scaled(is_fused)
    scaler.scale(loss_of(model, 0)).backward()
    if unscales:
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    values = watch.observe()
    assert values["grad_norm"] == pytest.approx(true_norm(0), rel=1e-4)
    assert values["loss_scale"] == SCALE
    assert values["update_skipped"] == 0


@pytest.mark.parametrize("is_fused", [False, True], ids=["plain", "fused"])
def test_the_norm_before_clipping_is_the_unscaled_one_too(is_fused: bool) -> None:
    model, optimizer, scaler, watch = scaled(is_fused)
    scaler.scale(loss_of(model, 0)).backward()
    scaler.unscale_(optimizer)
    expected = true_norm(0)
    watch.senses.norm_seen(torch.nn.utils.clip_grad_norm_(model.parameters(), expected / 4))
    scaler.step(optimizer)
    scaler.update()
    values = watch.observe()
    assert values["grad_norm"] == pytest.approx(expected, rel=1e-4)
    assert values["grad_norm_clipped"] == pytest.approx(expected / 4, rel=1e-3)


@pytest.mark.parametrize("is_fused", [False, True], ids=["plain", "fused"])
def test_a_step_that_the_scaler_skips_is_seen_and_moves_nothing(is_fused: bool) -> None:
    model, optimizer, scaler, watch = scaled(is_fused)
    skipped, scales, updates = [], [], []
    for step in range(4):
        optimizer.zero_grad()
        scaler.scale(loss_of(model, step)).backward()
        if step == 1:
            poison(model, math.inf)
        scaler.step(optimizer)
        scaler.update()
        values = watch.observe()
        skipped.append(values["update_skipped"])
        scales.append(values["loss_scale"])
        updates.append(values.get("update_norm", 0.0) > 0)
        assert values["learning_rate"] == 0.01
        assert values.get("nonfinite_params", 0.0) == 0
    assert skipped == [0, 1, 0, 0]
    assert scales == [SCALE, SCALE / 2, SCALE / 2, SCALE / 2]
    assert updates == [True, False, True, True]


def test_a_norm_told_for_a_step_that_the_scaler_skips_is_reported_with_that_step() -> None:
    model, optimizer, scaler, watch = scaled(False)
    scaler.scale(loss_of(model, 0)).backward()
    poison(model, math.inf)
    scaler.unscale_(optimizer)
    watch.senses.norm_seen(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0))
    scaler.step(optimizer)
    scaler.update()
    assert not math.isfinite(watch.observe()["grad_norm"])
    optimizer.zero_grad()
    scaler.scale(loss_of(model, 1)).backward()
    scaler.step(optimizer)
    scaler.update()
    assert math.isfinite(watch.observe()["grad_norm"])


def test_a_scaler_that_is_switched_off_says_nothing() -> None:
    model = seeded()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch(model, optimizer, scaler=torch.amp.GradScaler("cpu", enabled=False))
    loss_of(model, 0).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    assert not {"loss_scale", "update_skipped"} & set(watch.observe())


@pytest.mark.parametrize("flag", [True, torch.tensor(1.0)])
def test_a_step_that_the_guard_keeps_away_is_marked(flag: Any) -> None:
    model = seeded()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch(model, optimizer)
    watch.senses.mark_skipped(flag)
    optimizer.step()
    assert watch.observe()["update_skipped"] == 1
    optimizer.step()
    assert "update_skipped" not in watch.observe()
