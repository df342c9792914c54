"""The norm before clipping, by every way that people clip."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from tests.client_hook.signals.watching import Watch, exact_norm, gradient_norm, loss_of, seeded


def test_without_clipping_it_is_the_norm_of_all_gradients() -> None:
    model = seeded()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch(model, optimizer)
    for step in range(5):
        optimizer.zero_grad()
        loss_of(model, step).backward()  # type: ignore[no-untyped-call]
        expected = gradient_norm(model)
        optimizer.step()
        values = watch.observe()
        assert values["grad_norm"] == pytest.approx(expected, rel=1e-5)
        assert "grad_norm_clipped" not in values


@pytest.mark.parametrize("way", ["told before the step", "given to observe", "given as a number"])
def test_told_by_who_clips_it_is_the_norm_before_and_the_measured_one_the_norm_after(way: str) -> None:
    model = seeded()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    watch = Watch(model, optimizer)
    loss_of(model, 0).backward()  # type: ignore[no-untyped-call]
    expected = gradient_norm(model)
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), expected / 10)
    if way == "told before the step":
        watch.senses.norm_seen(norm)
    optimizer.step()
    if way == "told before the step":
        values = watch.observe()
    else:
        values = watch.observe(grad_norm=norm if way == "given to observe" else norm.item())
    assert values["grad_norm"] == pytest.approx(expected, rel=1e-5)
    assert values["grad_norm_clipped"] == pytest.approx(expected / 10, rel=1e-3)


def test_a_clipping_that_cut_nothing_leaves_one_name() -> None:
    model = seeded()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch(model, optimizer)
    loss_of(model, 0).backward()  # type: ignore[no-untyped-call]
    watch.senses.norm_seen(torch.nn.utils.clip_grad_norm_(model.parameters(), 1e6))
    optimizer.step()
    assert "grad_norm_clipped" not in watch.observe()


def test_a_silent_clipping_is_recognised_and_labelled() -> None:
    model = seeded()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    watch = Watch(model, optimizer)
    names = []
    for step in range(10):
        optimizer.zero_grad()
        (loss_of(model, step) * 100).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        names.append({name for name in watch.observe() if name.startswith("grad_norm")})
    assert names[2:] == [{"grad_norm_clipped"}] * 8


def test_a_told_norm_belongs_to_one_step_only() -> None:
    model = seeded()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch(model, optimizer)
    loss_of(model, 0).backward()  # type: ignore[no-untyped-call]
    watch.senses.norm_seen(1234.0)
    optimizer.step()
    watch.observe()
    optimizer.zero_grad()
    loss_of(model, 1).backward()  # type: ignore[no-untyped-call]
    expected = gradient_norm(model)
    optimizer.step()
    assert watch.observe()["grad_norm"] == pytest.approx(expected, rel=1e-5)


def test_of_two_optimizers_it_spans_both() -> None:
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    optimizers = [torch.optim.SGD(one.parameters(), lr=0.1) for one in (first, second)]
    watch = Watch(nn.ModuleList([first, second]), *optimizers)
    for network in (first, second):
        network(torch.ones(2, 3)).pow(2).sum().backward()
    gradients = [p.grad for p in (*first.parameters(), *second.parameters()) if p.grad is not None]
    expected = exact_norm(gradients)
    for optimizer in optimizers:
        optimizer.step()
    assert watch.observe()["grad_norm"] == pytest.approx(expected, rel=1e-5)


def test_two_optimizers_clipped_one_by_one_are_told_as_one_norm() -> None:
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    optimizers = [torch.optim.SGD(one.parameters(), lr=0.1) for one in (first, second)]
    watch = Watch(nn.ModuleList([first, second]), *optimizers)
    norms: list[torch.Tensor | float] = [3.0, torch.tensor(4.0)]
    for norm, optimizer, network in zip(norms, optimizers, (first, second)):
        network(torch.ones(2, 3)).sum().backward()
        watch.senses.norm_seen(norm)
        optimizer.step()
    assert watch.observe()["grad_norm"] == pytest.approx(5.0)


def test_accumulated_gradients_are_measured_as_the_optimizer_uses_them() -> None:
    model = seeded()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch(model, optimizer)
    for micro in range(4):
        (loss_of(model, micro) / 4).backward()  # type: ignore[no-untyped-call]
    expected = gradient_norm(model)
    optimizer.step()
    assert watch.observe()["grad_norm"] == pytest.approx(expected, rel=1e-5)


def test_duplicates_in_a_sparse_gradient_are_added_before_they_are_measured() -> None:
    words = nn.Embedding(10, 4, sparse=True)
    optimizer = torch.optim.SparseAdam(words.parameters(), lr=0.1)
    watch = Watch(words, optimizer)
    words(torch.tensor([3, 3, 3, 5])).sum().backward()
    assert words.weight.grad is not None
    assert not words.weight.grad.is_coalesced()
    expected = math.sqrt(4 * 9 + 4 * 1)
    optimizer.step()  # type: ignore[no-untyped-call]
    values = watch.observe()
    assert values["grad_norm"] == pytest.approx(expected)
    assert values["nonfinite_grads"] == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_small_types_are_summed_in_wide_ones(dtype: torch.dtype) -> None:
    parameter = nn.Parameter(torch.zeros(40_000, dtype=dtype))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    watch = Watch(nn.ParameterList([parameter]), optimizer)
    parameter.grad = torch.full_like(parameter, 4.0)
    optimizer.step()
    assert watch.observe()["grad_norm"] == pytest.approx(800.0, rel=1e-3)  # its square is beyond float16


def test_complex_gradients_have_a_norm_too() -> None:
    parameter = nn.Parameter(torch.zeros(2, dtype=torch.complex64))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    watch = Watch(nn.ParameterList([parameter]), optimizer)
    parameter.grad = torch.tensor([3 + 4j, 0j])
    optimizer.step()
    assert watch.observe()["grad_norm"] == pytest.approx(5.0)


def test_gradients_that_a_closure_makes_are_measured_after_it() -> None:
    parameter = nn.Parameter(torch.tensor([3.0, 4.0]))
    optimizer = torch.optim.LBFGS([parameter], lr=0.01, max_iter=1)
    watch = Watch(nn.ParameterList([parameter]), optimizer)

    def closure() -> float:
        optimizer.zero_grad()
        loss = parameter.pow(2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    assert watch.observe()["grad_norm"] == pytest.approx(10.0, rel=0.1)


def test_no_gradient_anywhere_is_not_a_norm_of_zero() -> None:
    model = seeded()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = Watch(model, optimizer)
    optimizer.step()
    assert "grad_norm" not in watch.observe()


def test_a_step_that_was_not_made_has_no_norm() -> None:
    model = seeded()
    watch = Watch(model, torch.optim.SGD(model.parameters(), lr=0.1))
    assert "grad_norm" not in watch.observe()
