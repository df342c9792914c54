from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.client_hook.signals.watching import Watch


def parameters(count: int) -> list[nn.Parameter]:
    made = [nn.Parameter(torch.ones(2)) for _ in range(count)]
    for one in made:
        one.grad = torch.ones(2)
    return made


def test_it_is_the_highest_of_all_groups_of_all_optimizers() -> None:
    first, second, third = parameters(3)
    optimizers = [
        torch.optim.SGD([{"params": [first], "lr": 0.1}, {"params": [second], "lr": 0.3}], lr=0.0),
        torch.optim.AdamW([third], lr=torch.tensor(0.2)),
    ]
    watch = Watch(nn.ParameterList([first, second, third]), *optimizers)
    for optimizer in optimizers:
        optimizer.step()
    assert watch.observe()["learning_rate"] == pytest.approx(0.3)


def test_what_each_group_was_really_updated_with_stands_beside_it() -> None:
    first, second, third = parameters(3)
    optimizers = [
        torch.optim.SGD([{"params": [first], "lr": 0.1}, {"params": [second], "lr": 0.3}], lr=0.0),
        torch.optim.AdamW([third], lr=torch.tensor(0.2)),
    ]
    watch = Watch(nn.ParameterList([first, second, third]), *optimizers, rate_factor=lambda: 0.5)
    optimizers[1].step()
    only = watch.observe()
    assert only["effective_learning_rate/2"] == pytest.approx(0.1)
    assert "effective_learning_rate/0" not in only
    optimizers[0].step()
    values = watch.observe()
    assert [values[f"effective_learning_rate/{index}"] for index in range(2)] == [0.05, 0.15]
    assert values["learning_rate"] == 0.3


@pytest.mark.parametrize("scheduler_first", [True, False])
def test_it_is_the_rate_that_made_the_step_whenever_the_scheduler_is_called(scheduler_first: bool) -> None:
    (parameter,) = parameters(1)
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    watch = Watch(nn.ParameterList([parameter]), optimizer)
    seen = []
    for _ in range(3):
        optimizer.step()
        if scheduler_first:
            scheduler.step()
        seen.append(watch.observe()["learning_rate"])
        if not scheduler_first:
            scheduler.step()
    assert seen == [1.0, 0.5, 0.25]


def test_a_rate_kept_in_a_tensor_is_read_at_the_step_and_not_later() -> None:
    (parameter,) = parameters(1)
    rate = torch.tensor(0.5)
    optimizer = torch.optim.Adam([parameter], lr=rate, foreach=False)
    watch = Watch(nn.ParameterList([parameter]), optimizer)
    optimizer.step()
    rate.mul_(0.1)
    assert watch.observe()["learning_rate"] == pytest.approx(0.5)


def test_where_no_step_was_made_it_is_the_rate_that_stands() -> None:
    (parameter,) = parameters(1)
    watch = Watch(nn.ParameterList([parameter]), torch.optim.SGD([parameter], lr=0.7))
    assert watch.observe()["learning_rate"] == 0.7


def test_an_optimizer_without_a_rate_has_none() -> None:
    class Rateless(torch.optim.Optimizer):
        def __init__(self, params: list[nn.Parameter]) -> None:
            super().__init__(params, {})

        def step(self, closure: object = None) -> None:  # type: ignore[override]
            """Makes no step at all."""

    (parameter,) = parameters(1)
    optimizer = Rateless([parameter])
    watch = Watch(nn.ParameterList([parameter]), optimizer)
    optimizer.step()
    assert "learning_rate" not in watch.observe()
