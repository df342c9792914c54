"""The guard on optimizers that make their gradients in a closure, through the hook."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from tests.client_hook.matrix.observations import attach, listen


@pytest.mark.parametrize(
    ("kind", "options"),
    [(torch.optim.LBFGS, {"max_iter": 5}), (torch.optim.SGD, {"momentum": 0.9})],
    ids=["LBFGS", "SGD"],
)
@pytest.mark.parametrize("as_keyword", [False, True])
def test_a_bad_closure_is_skipped_and_said(kind: Any, options: dict[str, Any], as_keyword: bool) -> None:
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    optimizer = kind(model.parameters(), lr=0.05, **options)
    inputs, targets = torch.randn(16, 4), torch.randn(16, 1)
    hook = attach(model, optimizer, guard=True)
    heard = listen(hook)
    factor = [1.0]

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = ((model(inputs) - targets) ** 2).mean() * factor[0]
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    for step in range(6):
        factor[0] = math.nan if step in (2, 3) else 1.0
        before = [parameter.detach().clone() for parameter in model.parameters()]
        loss = optimizer.step(closure=closure) if as_keyword else optimizer.step(closure)
        hook.observe(loss)
        same = all(torch.equal(one, other) for one, other in zip(before, model.parameters(), strict=True))
        assert same == (step in (2, 3))
    hook.close()
    assert [one.step for one in heard if one.signals.get("update_skipped")] == [2, 3]
    assert [one.step for one in heard if math.isnan(one.signals["loss"])] == [2, 3]


def test_a_closure_without_the_guard_is_called_as_it_is() -> None:
    parameter = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    hook = attach(nn.ParameterList([parameter]), optimizer)
    seen: list[Any] = []
    optimizer.register_step_pre_hook(lambda one, args, kwargs: seen.append(args[1]))

    def closure() -> float:
        return 1.0

    optimizer.step(closure)
    hook.close()
    assert seen == [closure]


def test_what_one_rank_finds_bad_in_its_closure_is_bad_on_all() -> None:
    class AnotherRank:
        """Whatever this rank's shards are, the other one's are bad at the second evaluation."""

        calls = 0

        def of(self, norm: torch.Tensor | None) -> torch.Tensor:
            self.calls += 1
            return torch.tensor(math.nan if self.calls == 4 else 1.0)  # asked before each step as well

    parameter = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    hook = attach(nn.ParameterList([parameter]), optimizer, guard=True)
    hook._finiteness = AnotherRank()  # type: ignore[assignment]

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = parameter.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    seen = []
    for _ in range(3):
        before = parameter.detach().clone()
        hook.observe(optimizer.step(closure))
        seen.append(not torch.equal(before, parameter))
    hook.close()
    assert seen == [True, False, True]
