"""What went bad first has a name."""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from client_hook.guard import take_swallowed
from client_hook.signals import SenseOptions
from tests.client_hook.matrix.observations import attach
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


class Gives(nn.Module):
    """A module that gives back whatever it is told to."""

    def __init__(self, what: Any) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.what = what

    def forward(self, inputs: Any = None) -> Any:
        return self.what


def circle() -> dict[str, Any]:
    made: dict[str, Any] = {}
    made["itself"] = made
    return made


@pytest.mark.parametrize(
    "what",
    [
        lambda: torch.eye(3).to_sparse(),
        lambda: torch.ones(3).to(torch.float8_e4m3fn),
        lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged),
        lambda: torch.ones(3, dtype=torch.complex64),
        lambda: torch.ones(3, device="meta"),
        circle,
    ],
    ids=["sparse", "8 bits", "nested", "complex", "meta", "a circle"],
)
def test_whatever_a_module_gives_back_a_look_at_it_breaks_no_forward_pass(what: Callable[[], Any]) -> None:
    given = what()
    model = nn.Sequential(Gives(given))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    hook = attach(model, optimizer, trace_modules=True, activations="*")
    assert model(None) is given
    assert bool(take_swallowed()) == (what is circle)
    hook.close()


def test_a_model_that_is_looked_into_can_be_saved_and_copied() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch(model, optimizer, options=SenseOptions(trace_modules=True, activations="*"))
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    for other in (torch.load(file, weights_only=False), copy.deepcopy(model)):
        other(torch.full((1, 2), math.nan))
        assert torch.equal(other(torch.ones(1, 2)), model(torch.ones(1, 2)))
        watch.observe()
        assert watch.senses.take_remarks() == []  # it is another model, and not watched


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, about its tracing
def test_other_ways_through_a_model_that_is_looked_into_are_left_alone() -> None:
    layer = nn.Linear(2, 2)
    model = nn.Sequential(layer)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    hook = attach(model, optimizer, trace_modules=True, activations="*")

    def of_one(parameters: dict[str, Tensor], inputs: Tensor) -> Tensor:
        total: Tensor = torch.func.functional_call(layer, parameters, (inputs,)).sum()
        return total

    per_sample = torch.func.vmap(torch.func.grad(of_one), in_dims=(None, 0))
    assert per_sample(dict(layer.named_parameters()), torch.ones(4, 2))["weight"].shape == (4, 2, 2)
    hook.observe(torch.func.vmap(layer)(torch.ones(4, 2)).sum())
    torch.jit.trace(model, torch.ones(1, 2))  # type: ignore[no-untyped-call]
    hook.observe(1.0)
    hook.close()


@pytest.mark.parametrize("named", [False, True], ids=["(loss, logits)", "{'logits': …}"])
def test_the_largest_logit_is_no_loss(named: bool) -> None:
    loss, logits = torch.tensor(99.0), torch.tensor([[1.0, -7.0]])
    model = Gives({"loss": loss, "hidden": torch.full((2, 2), 50.0), "logits": logits} if named else (loss, logits))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch(model, optimizer, options=SenseOptions(activations="*"))
    model()
    assert watch.observe()["logit_max"] == 7.0


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
