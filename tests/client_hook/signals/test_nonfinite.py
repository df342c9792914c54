from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from tests.client_hook.signals.watching import Watch, loss_of, poison, seeded


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_every_bad_gradient_element_is_counted(value: float) -> None:
    model = seeded()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    watch = Watch(model, optimizer)
    loss_of(model, 0).backward()  # type: ignore[no-untyped-call]
    gradients = [p.grad for p in model.parameters() if p.grad is not None and p.grad.numel() > 1]
    gradients[0][0, :3] = value
    gradients[1][1, 1] = value
    optimizer.step()
    values = watch.observe()
    assert values["nonfinite_grads"] == 4
    assert not math.isfinite(values["grad_norm"])


def test_a_healthy_step_says_zero_of_both() -> None:
    model = seeded()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    watch = Watch(model, optimizer)
    loss_of(model, 0).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    values = watch.observe()
    assert (values["nonfinite_grads"], values["nonfinite_params"]) == (0, 0)


def test_a_bad_update_is_counted_in_the_parameters_of_the_same_step() -> None:
    model = seeded()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch(model, optimizer)
    loss_of(model, 0).backward()  # type: ignore[no-untyped-call]
    poison(model, math.nan)
    optimizer.step()
    values = watch.observe()
    assert (values["nonfinite_grads"], values["nonfinite_params"]) == (1, 1)
    optimizer.zero_grad()
    with torch.no_grad():
        model.get_parameter("first.weight").nan_to_num_(0.0)
    loss_of(model, 1).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    values = watch.observe()
    assert (values["nonfinite_grads"], values["nonfinite_params"]) == (0, 0)


def test_the_count_spans_all_optimizers() -> None:
    first, second = nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(4))
    optimizers = [torch.optim.SGD([one], lr=0.0) for one in (first, second)]
    watch = Watch(nn.ParameterList([first, second]), *optimizers)
    first.grad = torch.tensor([1.0, math.nan, 1.0, math.nan])
    second.grad = torch.tensor([math.inf, 1.0, 1.0, 1.0])
    for optimizer in optimizers:
        optimizer.step()
    assert watch.observe()["nonfinite_grads"] == 3


def test_the_guard_is_told_before_the_step_whether_the_gradients_are_finite() -> None:
    parameter = nn.Parameter(torch.ones(4))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    told = []
    watch = Watch(nn.ParameterList([parameter]), optimizer)

    def ask(one: torch.optim.Optimizer, args: object, kwargs: object) -> None:
        norm = watch.senses.gradient_norm_tensor(one)
        told.append(norm is None or math.isfinite(norm))

    optimizer.register_step_pre_hook(ask)
    for gradient in (torch.ones(4), torch.full((4,), math.nan), None, torch.ones(4)):
        parameter.grad = gradient
        optimizer.step()
    assert told == [True, False, True, True]
