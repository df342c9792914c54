from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import LBFGS, SGD, Adafactor, Adam, AdamW, Optimizer, RMSprop

from client_hook.recovery.snapshot import TrainingState
from client_hook.recovery.update_guard import UpdateGuard

KINDS: list[tuple[type[Optimizer], dict[str, Any]]] = [
    (SGD, {"momentum": 0.9, "weight_decay": 0.1}),
    (SGD, {"momentum": 0.9, "foreach": True}),
    (SGD, {"momentum": 0.9, "fused": True}),
    (Adam, {"amsgrad": True}),
    (AdamW, {"weight_decay": 0.1, "foreach": False}),
    (AdamW, {"weight_decay": 0.1, "foreach": True}),
    (AdamW, {"weight_decay": 0.1, "fused": True}),
    (RMSprop, {"momentum": 0.9}),
    (Adafactor, {}),
]


def state_of(optimizer: Optimizer, model: nn.Module) -> list[torch.Tensor]:
    snapshot = TrainingState(model, optimizer).capture()
    tensors = [*snapshot.model["parameters"].values()]
    for values in snapshot.optimizers[0]["state"].values():
        tensors += [value for value in values.values() if isinstance(value, torch.Tensor)]
    return tensors


@pytest.mark.parametrize(("kind", "options"), KINDS, ids=lambda each: getattr(each, "__name__", str(each)))
def test_a_prevented_update_leaves_weights_moments_and_counts_untouched(
    kind: type[Optimizer], options: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = kind(model.parameters(), lr=0.1, **options)  # type: ignore[call-arg]
    guard = UpdateGuard(is_enabled=True)
    verdicts = iter([True, True, False])

    def before_update(each: Optimizer, args: Any, kwargs: Any) -> None:
        guard.prevent(each, finite=next(verdicts))

    optimizer.register_step_pre_hook(before_update)
    for factor in (1.0, 1.0, math.nan):
        before = state_of(optimizer, model)
        optimizer.zero_grad()
        (model(torch.ones(1, 3)).sum() * factor).backward()
        optimizer.step()
    assert len(before) > 2 or kind is SGD
    assert all(torch.equal(then, now) for then, now in zip(before, state_of(optimizer, model), strict=True))
    assert all(weight.grad is None for weight in model.parameters())


def test_a_finite_update_is_let_through() -> None:
    weight = nn.Parameter(torch.ones(1))
    weight.grad = torch.ones(1)
    assert not UpdateGuard(is_enabled=True).prevent(SGD([weight], lr=0.1), finite=True)
    assert weight.grad is not None


def test_lbfgs_is_let_through_because_its_gradients_come_later() -> None:
    weight = nn.Parameter(torch.ones(1))
    assert not UpdateGuard(is_enabled=True).prevent(LBFGS([weight]), finite=False)
