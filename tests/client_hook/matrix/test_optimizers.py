"""Every optimizer people use: the signals are right, watching changes nothing, a rollback is bit-exact."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import torch
from torch import nn, optim

from tests.client_hook.matrix.observations import attach, listen
from tests.client_hook.matrix.trainings import OPTIMIZERS, Run, norm, same

STEPS = 6

each_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)


def test_every_optimizer_of_torch_is_in_the_matrix() -> None:
    there = {name for name, one in vars(optim).items() if inspect.isclass(one)} - {"Optimizer"}
    assert there <= set(OPTIMIZERS)


@each_optimizer
def test_the_signals_are_those_of_a_naive_computation(name: str) -> None:
    run = Run(name)
    hook = run.attach(mode="observe")
    heard = listen(hook)
    for step in range(STEPS):
        before = [p.detach().clone() for p in run.owned()]
        loss = run.update(step)
        rates = run.rates()
        gradient_norm = norm([p.grad for p in run.owned()])
        hook.observe(loss)
        values = heard[-1].signals
        whole, update = norm(run.owned()), norm([p.detach() - q for p, q in zip(run.owned(), before)])
        assert values["loss"] == pytest.approx(loss.item())
        assert values["grad_norm"] == pytest.approx(gradient_norm, rel=1e-4)
        assert values["learning_rate"] == pytest.approx(max(rates))
        assert values["param_norm"] == pytest.approx(whole, rel=1e-4)
        assert values["update_norm"] == pytest.approx(update, rel=2e-3, abs=1e-6)
        assert values["update_ratio"] == pytest.approx(update / whole, rel=2e-3, abs=1e-6)
        assert values["nonfinite_grads"] == values["nonfinite_params"] == 0.0
    hook.close()


@each_optimizer
def test_watching_leaves_training_bit_identical(name: str) -> None:
    alone = Run(name)
    for step in range(STEPS):
        alone.update(step)
    watched = Run(name)
    hook = watched.attach(mode="observe", layers_every=2, trace_modules=True, activations="*")
    for step in range(STEPS):
        hook.observe(watched.update(step))
    hook.close()
    assert watched.losses == alone.losses
    assert same(watched.everything(), alone.everything())


@each_optimizer
def test_the_multiplier_holds_in_the_step_and_is_off_outside(name: str) -> None:
    run = Run(name)
    hook = run.attach(mode="observe")
    heard = listen(hook)
    hook._training.rate.scale = 0.3
    applied = []
    run.optimizer.register_step_pre_hook(lambda one, args, kwargs: applied.append(run.rates()))
    for step in range(3):
        scheduled = run.rates()
        hook.observe(run.update(step))
        assert applied[-1] == pytest.approx([rate * 0.3 for rate in scheduled])
        assert run.rates() == scheduled
        assert heard[-1].signals["lr_scale"] == 0.3
        assert heard[-1].signals["effective_learning_rate/0"] == pytest.approx(scheduled[0] * 0.3)
    hook.close()


@each_optimizer
def test_a_rollback_is_bit_exact(name: str, tmp_path: Path) -> None:
    run = Run(name)
    hook = run.attach(mode="advise", checkpoints=tmp_path / "checkpoints", checkpoint_every=3)
    keeper = hook._training.keeper
    for step in range(3):
        hook.observe(run.update(step))
    state = run.everything()
    for step in range(3, 5):
        hook.observe(run.update(step))
    expected, run.losses = run.losses[3:], []
    assert keeper is not None
    saved = next(report for report in keeper.reports() if report.step == 3)
    hook._training.state.restore(keeper.load(saved.checkpoint_id))
    assert same(run.everything(), state)
    for step in range(3, 5):
        hook.observe(run.update(step))
    assert run.losses == expected
    hook.close()


def test_several_optimizers_are_one_observation() -> None:
    torch.manual_seed(0)
    maker, judge = nn.Linear(3, 4), nn.Linear(4, 1)
    optimizers = [optim.Adam(maker.parameters(), lr=1e-3), optim.SGD(judge.parameters(), lr=1e-2)]
    hook = attach([maker, judge], optimizers)
    heard = listen(hook)
    for _ in range(3):
        loss = judge(maker(torch.randn(5, 3))).square().mean()
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        hook.observe(loss)
        every = [*maker.parameters(), *judge.parameters()]
        assert heard[-1].signals["grad_norm"] == pytest.approx(norm([p.grad for p in every]), rel=1e-4)
        assert heard[-1].signals["effective_learning_rate/0"] == 1e-3
        assert heard[-1].signals["effective_learning_rate/1"] == 1e-2
    hook.close()


def test_a_head_that_is_replaced_is_looked_at_like_the_one_before() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    optimizer = optim.SGD(model.parameters(), lr=1e-2)
    hook = attach(model, optimizer, layers_every=1)
    heard = listen(hook)
    for step in range(4):
        if step == 2:
            model[1] = nn.Linear(4, 2)
            optimizer.param_groups[0]["params"][2:] = list(model[1].parameters())
        optimizer.zero_grad()
        loss = model(torch.randn(5, 3)).square().mean()
        loss.backward()
        optimizer.step()
        hook.observe(loss)
        assert heard[-1].signals["grad_norm/1.weight"] == pytest.approx(norm([model[1].weight.grad]), rel=1e-4)
    hook.close()


def test_parameters_added_and_frozen_on_the_way_are_followed() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    optimizer = optim.AdamW(model[0].parameters(), lr=1e-2)
    hook = attach(model, optimizer, layers_every=1)
    heard = listen(hook)
    for step in range(6):
        if step == 2:
            optimizer.add_param_group({"params": list(model[1].parameters()), "lr": 5e-3})
        if step == 4:
            model[0].weight.requires_grad_(False)
        before = [p.detach().clone() for group in optimizer.param_groups for p in group["params"]]
        optimizer.zero_grad()
        loss = model(torch.randn(5, 3)).square().mean()
        loss.backward()
        optimizer.step()
        hook.observe(loss)
        owned = [p for group in optimizer.param_groups for p in group["params"]]
        values = heard[-1].signals
        assert values["grad_norm"] == pytest.approx(norm([p.grad for p in owned]), rel=1e-4)
        update = norm([p.detach() - q for p, q in zip(owned, before)])
        assert values["update_norm"] == pytest.approx(update, rel=2e-3)
        assert ("grad_norm/1.weight" in values) == (step >= 2)
        assert ("grad_norm/0.weight" in values) == (step < 4)
    hook.close()
