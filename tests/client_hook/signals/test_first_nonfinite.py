"""What went bad first has a name."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from client_hook.signals import SenseOptions
from tests.client_hook.signals.watching import Watch, loss_of, poison, seeded


class Broken(nn.Module):
    """A layer whose output goes bad when told."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 2)
        self.blocks = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
        self.breaks = False

    def forward(self, inputs: Tensor) -> dict[str, tuple[Tensor, int]]:
        hidden = self.blocks(self.first(inputs))
        if self.breaks:
            hidden = hidden / 0.0
        return {"result": (hidden, 3)}


def step_with(watch: Watch, model: nn.Module, optimizer: torch.optim.Optimizer, value: float | None) -> list[str]:
    optimizer.zero_grad()
    loss_of(model, 0).backward()  # type: ignore[no-untyped-call]
    if value is not None:
        poison(model, value)
    optimizer.step()
    values = watch.observe()
    assert not any(name.startswith("first_nonfinite") for name in values)
    return watch.senses.take_remarks()


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_the_first_bad_gradient_is_named_once_in_a_stretch(value: float) -> None:
    model = seeded()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch(model, optimizer)
    assert step_with(watch, model, optimizer, None) == []
    healthy = {name: p.detach().clone() for name, p in model.named_parameters()}
    assert step_with(watch, model, optimizer, value) == ["the first that is not finite is the gradient of first.weight"]
    assert step_with(watch, model, optimizer, None) == []  # it goes on, and was said
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(healthy[name])
    assert step_with(watch, model, optimizer, None) == []
    assert len(step_with(watch, model, optimizer, value)) == 1  # a new stretch


def test_a_parameter_that_was_bad_before_any_gradient_is_named() -> None:
    model = seeded()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    watch = Watch(model, optimizer)
    with torch.no_grad():
        model.get_parameter("unused")[2] = float("nan")
    assert step_with(watch, model, optimizer, None) == ["the first that is not finite is the parameter unused"]


def test_of_traced_modules_the_innermost_first_one_is_named() -> None:
    model = Broken()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch(model, optimizer, options=SenseOptions(trace_modules=True))
    for breaks, expected in ((False, []), (True, ["Broken"])):
        model.breaks = breaks
        optimizer.zero_grad()
        result, _ = model(torch.ones(1, 2))["result"]
        result.sum().backward()
        optimizer.step()
        watch.observe()
        remarks = watch.senses.take_remarks()
        assert [remark.split(";")[0].split()[-1] for remark in remarks] == expected


def test_of_a_chain_it_is_the_module_where_it_began() -> None:
    model = Broken()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch(model, optimizer, options=SenseOptions(trace_modules=True))
    with torch.no_grad():
        model.blocks[0].bias.fill_(float("nan"))
    model(torch.ones(1, 2))
    watch.observe()
    assert watch.senses.take_remarks() == ["the first module whose output was not finite is blocks.0"]


def test_an_evaluation_is_not_traced_and_closing_takes_the_hooks_off() -> None:
    model = Broken()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch(model, optimizer, options=SenseOptions(trace_modules=True, activations="blocks.*"))
    model.breaks = True
    with torch.no_grad():
        model(torch.ones(1, 2))
    values = watch.observe()
    assert watch.senses.take_remarks() == []
    assert "activation_rms/blocks.0" not in values
    watch.senses.close()
    assert all(not module._forward_hooks for module in model.modules())


def test_activations_are_those_of_the_modules_that_fit() -> None:
    model = Broken()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch(model, optimizer, options=SenseOptions(activations="blocks.*"))
    with torch.no_grad():
        hidden = model.blocks[0](model.first(torch.ones(3, 2)))
    model(torch.ones(3, 2))
    values = watch.observe()
    assert values["activation_rms/blocks.0"] == pytest.approx(float(hidden.pow(2).mean().sqrt()), rel=1e-5)
    assert values["activation_rms/blocks.1"] == pytest.approx(float(hidden.tanh().pow(2).mean().sqrt()), rel=1e-5)
    assert values["logit_max"] == pytest.approx(float(hidden.tanh().abs().max()), rel=1e-5)
    assert "activation_rms/first" not in values
