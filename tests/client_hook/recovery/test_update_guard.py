from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import LBFGS, SGD, Adafactor, Adagrad, Adam, AdamW, Optimizer, RMSprop

from client_hook.recovery.snapshot import TrainingState
from client_hook.recovery.update_guard import UpdateGuard
from client_hook.signals import gradient_norm_of

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

    def before_update(each: Optimizer, args: Any, kwargs: Any) -> None:
        guard.before_update(each, gradient_norm_of(each))

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
    assert UpdateGuard(is_enabled=True).before_update(SGD([weight], lr=0.1), torch.tensor(1.0)) is False
    assert weight.grad is not None


FUSED: list[tuple[type[Optimizer], dict[str, Any]]] = [
    (SGD, {"momentum": 0.9, "weight_decay": 0.1}),
    (Adam, {}),
    (AdamW, {"weight_decay": 0.1, "amsgrad": True}),
    (Adagrad, {}),
]


def on_the_device(guard: UpdateGuard, optimizer: Optimizer) -> None:
    """What happens to an optimizer whose gradients are on an accelerator; the same kernels run on the CPU."""

    def before(each: Optimizer, args: Any, kwargs: Any) -> None:
        norm = gradient_norm_of(each)
        assert norm is not None
        guard.keep_on_device(each, norm)

    optimizer.register_step_pre_hook(before)
    optimizer.register_step_post_hook(lambda each, args, kwargs: guard.after_update(each) and None)


@pytest.mark.parametrize(("kind", "options"), FUSED, ids=lambda each: getattr(each, "__name__", "options"))
def test_without_a_host_read_a_fused_optimizer_skips_by_itself(kind: type[Optimizer], options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model, twin = nn.Linear(3, 2), nn.Linear(3, 2)
    twin.load_state_dict(model.state_dict())
    optimizer = kind(model.parameters(), lr=0.1, fused=True, **options)  # type: ignore[call-arg]
    reference = kind(twin.parameters(), lr=0.1, fused=True, **options)  # type: ignore[call-arg]
    on_the_device(UpdateGuard(is_enabled=True), optimizer)
    for factor in (1.0, 1.0, math.nan, math.inf, 1.0):
        for each, stepped in ((model, optimizer), (twin, reference)):
            if each is twin and not math.isfinite(factor):
                continue
            stepped.zero_grad()
            (each(torch.ones(1, 3)).sum() * factor).backward()
            stepped.step()
        assert not hasattr(optimizer, "found_inf")
        assert not hasattr(optimizer, "grad_scale")
    ours, theirs = state_of(optimizer, model), state_of(reference, twin)
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_without_a_host_read_a_foreach_optimizer_gets_no_bad_number_and_the_residual_is_bounded() -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = AdamW(model.parameters(), lr=0.1, foreach=True)
    on_the_device(UpdateGuard(is_enabled=True), optimizer)
    for factor in (1.0, 1.0, math.nan):
        before = [parameter.detach().clone() for parameter in model.parameters()]
        optimizer.zero_grad()
        (model(torch.ones(1, 3)).sum() * factor).backward()
        optimizer.step()
    for then, now in zip(before, model.parameters(), strict=True):
        assert torch.isfinite(now).all()
        assert (now - then).abs().max() < 0.1  # momentum alone, less than one rate


def test_a_sparse_gradient_is_masked_without_a_host_read() -> None:
    table = nn.Embedding(5, 2, sparse=True)
    optimizer = SGD(table.parameters(), lr=0.1)
    on_the_device(UpdateGuard(is_enabled=True), optimizer)
    before = table.weight.detach().clone()
    (table(torch.tensor([1, 1, 3])).sum() * math.nan).backward()
    optimizer.step()
    assert torch.equal(table.weight, before)


def test_a_scalers_own_flag_is_left_alone() -> None:
    model = nn.Linear(3, 2)
    optimizer = AdamW(model.parameters(), lr=0.1, fused=True)
    guard = UpdateGuard(is_enabled=True)
    theirs = torch.tensor(0.0)
    optimizer.found_inf = theirs  # type: ignore[attr-defined]
    guard.keep_on_device(optimizer, torch.tensor(math.nan))
    guard.after_update(optimizer)
    assert optimizer.found_inf is theirs  # type: ignore[attr-defined]


CLOSURES: list[tuple[type[Optimizer], dict[str, Any]]] = [
    (SGD, {"momentum": 0.9}),
    (AdamW, {}),
    (LBFGS, {"max_iter": 4}),
    (LBFGS, {"max_iter": 6, "line_search_fn": "strong_wolfe"}),
]


@pytest.mark.parametrize(("kind", "options"), CLOSURES, ids=lambda each: getattr(each, "__name__", str(each)))
@pytest.mark.parametrize("bad_from", [1, 2, 3])
def test_a_closure_that_turns_bad_leaves_the_weights_as_they_were(
    kind: type[Optimizer], options: dict[str, Any], bad_from: int
) -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = kind(model.parameters(), lr=0.1, **options)  # type: ignore[call-arg]
    guard = UpdateGuard(is_enabled=True)
    optimizer.register_step_post_hook(lambda each, args, kwargs: taken.append(guard.after_update(each)))
    taken: list[bool] = []
    inputs, targets = torch.randn(8, 3), torch.randn(8, 2)
    calls = [0]
    factor = [1.0]

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        calls[0] += 1
        loss = ((model(inputs) - targets) ** 2).mean()
        if not math.isfinite(factor[0]) and calls[0] >= bad_from:
            loss = loss * factor[0]
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(guard.around_closure(optimizer, closure, gradient_norm_of))
    after_one = [parameter.detach().clone() for parameter in model.parameters()]
    calls[0], factor[0] = 0, math.nan
    optimizer.step(guard.around_closure(optimizer, closure, gradient_norm_of))
    was_bad = calls[0] >= bad_from
    assert taken == [False, was_bad]
    if was_bad:
        assert all(torch.equal(one, two) for one, two in zip(after_one, model.parameters(), strict=True))
    factor[0] = 1.0
    optimizer.step(guard.around_closure(optimizer, closure, gradient_norm_of))
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    assert not all(torch.equal(one, two) for one, two in zip(after_one, model.parameters(), strict=True))
