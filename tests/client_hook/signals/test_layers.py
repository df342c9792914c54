"""Each layer by itself: right, on schedule, at once when something is wrong, and within the wire's bound."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from client_hook.signals import SenseOptions
from client_hook.signals.layers import MAX_LAYERS, layer_names
from tests.client_hook.signals.watching import Watch, exact_norm, loss_of, poison, seeded


def layered(values: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if "/" in name and not name.startswith("effective")}


def test_the_numbers_of_each_layer_are_those_of_a_naive_computation() -> None:
    model = seeded()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch(model, optimizer, options=SenseOptions(layers_every=1))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    loss_of(model, 0).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    values = watch.observe()
    for name, parameter in model.named_parameters():
        if parameter.grad is None or not parameter.numel():
            assert f"grad_norm/{name}" not in values
            continue
        assert values[f"grad_norm/{name}"] == pytest.approx(exact_norm([parameter.grad]), rel=1e-5)
        assert values[f"param_norm/{name}"] == pytest.approx(exact_norm([parameter]), rel=1e-5)
        ratio = exact_norm([parameter.detach() - before[name]]) / exact_norm([parameter])
        assert values[f"update_ratio/{name}"] == pytest.approx(ratio, rel=1e-3)
        zeros = float((parameter.grad == 0).float().mean())
        assert values[f"zero_grads/{name}"] == pytest.approx(zeros)
    assert values["zero_grads/words.weight"] > 0.5  # most words were not in the batch


def test_they_are_looked_at_on_schedule_and_at_the_step_after_a_finding() -> None:
    model = seeded()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch(model, optimizer, options=SenseOptions(layers_every=5))
    looked = []
    for step in range(12):
        if step == 7:
            watch.senses.look_closely()
        optimizer.zero_grad()
        loss_of(model, step).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if layered(watch.observe()):
            looked.append(step)
    assert looked == [4, 7, 9]


def test_a_bad_norm_is_looked_into_at_once() -> None:
    model = seeded()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch(model, optimizer)
    loss_of(model, 0).backward()  # type: ignore[no-untyped-call]
    poison(model, float("inf"))
    optimizer.step()
    values = watch.observe()
    assert values["grad_norm/first.weight"] == float("inf")
    assert values["grad_norm/second.weight"] < 1e3


def test_switched_off_means_never() -> None:
    model = seeded()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch(model, optimizer, options=SenseOptions(layers_every=None))
    watch.senses.look_closely()
    loss_of(model, 0).backward()  # type: ignore[no-untyped-call]
    poison(model, float("nan"))
    optimizer.step()
    assert not layered(watch.observe())


@pytest.mark.parametrize("count", [1, 47, 48, 49, 1000])
def test_however_large_the_model_its_layers_are_bounded(count: int) -> None:
    deep = [f"h.{block}.{part}" for block in range(count) for part in ("attn.weight", "attn.bias", "mlp.weight")]
    flat = [f"weight{index}" for index in range(count)]
    for names in (deep, flat):
        layers = layer_names(names)
        assert list(layers) == names
        assert len(set(layers.values())) <= MAX_LAYERS


def test_tied_weights_are_one_layer() -> None:
    model = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5, bias=False))
    model[1].weight = model[0].weight
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch(model, optimizer, options=SenseOptions(layers_every=1))
    model(torch.tensor([1, 2])).sum().backward()
    optimizer.step()
    assert [name for name in layered(watch.observe()) if name.startswith("grad_norm/")] == ["grad_norm/0.weight"]
