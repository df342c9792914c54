"""What every signal promises, for every member of ``SIGNALS``, without being told their names."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from client_hook.signals import SIGNALS, SenseOptions, Senses, Signal, Watched
from client_hook.signals.reading import checked_name
from tests.client_hook.signals.watching import Mixed, Watch, loss_of, seeded
from trainguard.wire.observation import STANDARD_SIGNALS

OPTIMIZERS: dict[str, Callable[[Iterable[nn.Parameter]], Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01),
    "adamw for-loop": lambda p: torch.optim.AdamW(p, lr=0.01, foreach=False),
    "adamw foreach": lambda p: torch.optim.AdamW(p, lr=0.01, foreach=True),
    "adamw fused": lambda p: torch.optim.AdamW(p, lr=0.01, fused=True),
    "adamw amsgrad": lambda p: torch.optim.AdamW(p, lr=0.01, amsgrad=True),
    "adam tensor rate": lambda p: torch.optim.Adam(p, lr=torch.tensor(0.01), foreach=False),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.05),
    "adafactor": lambda p: torch.optim.Adafactor([one for one in p if one.numel()], lr=0.01),  # it divides by numel
}

EVERYTHING = SenseOptions(layers_every=1, exact_update_ratio_every=3, trace_modules=True, activations="*")
"""Bit-identity is promised for whatever somebody may ask for."""

BESIDE_THE_COLUMNS = {
    "adam_rms",
    "samples_per_second",
    "tokens_per_second",
    "logit_max",
    "first_nonfinite_parameter",
    "first_nonfinite_module",
    "announced_learning_rate",
    "unannounced_learning_rate",
}
BY_NAME = {"effective_learning_rate", "activation_rms", "zero_grads", "grad_norm", "param_norm", "update_ratio"}

each_signal = pytest.mark.parametrize("kind", SIGNALS, ids=lambda kind: kind.__name__)


def _train(optimizer_of: Callable[..., Optimizer], watch: Callable[[nn.Module, Optimizer], Any], steps: int) -> Any:
    model = seeded()
    optimizer = optimizer_of(model.parameters())
    observer = watch(model, optimizer)
    losses = []
    for step in range(steps):
        optimizer.zero_grad()
        loss = loss_of(model, step)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if observer is not None:
            observer.observe(loss)
        losses.append(loss.item())
    gradients = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    return losses, list(model.state_dict().values()), gradients, torch.get_rng_state()


class OneSignal:
    """A single signal at work, without its siblings (those it builds on apart)."""

    def __init__(self, kind: type[Signal], model: nn.Module, optimizer: Optimizer) -> None:
        watched = Watched(model, (optimizer,), None, lambda: 0.0, EVERYTHING)
        self.signals = [one(watched) for one in SIGNALS[: SIGNALS.index(kind) + 1]]
        optimizer.register_step_pre_hook(lambda one, args, kwargs: self._each("before_update", one))
        optimizer.register_step_post_hook(lambda one, args, kwargs: self._each("after_update", one))

    @torch.no_grad()
    def _each(self, moment: str, optimizer: Optimizer) -> None:
        for signal in self.signals:
            getattr(signal, moment)(optimizer)

    def observe(self, loss: object) -> dict[str, Tensor | float]:
        values: dict[str, Tensor | float] = {}
        for signal in self.signals:
            values.update(signal.collect())
        return values


@each_signal
def test_watching_with_it_leaves_training_bit_identical(kind: type[Signal]) -> None:
    alone = _train(OPTIMIZERS["adamw"], lambda model, optimizer: None, 20)
    watched = _train(OPTIMIZERS["adamw"], lambda model, optimizer: OneSignal(kind, model, optimizer), 20)
    _assert_same(alone, watched)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_watching_with_all_leaves_training_bit_identical_whatever_the_optimizer(name: str) -> None:
    alone = _train(OPTIMIZERS[name], lambda model, optimizer: None, 30)
    watched = _train(OPTIMIZERS[name], lambda model, one: Watch(model, one, options=EVERYTHING), 30)
    _assert_same(alone, watched)


def _assert_same(alone: Any, watched: Any) -> None:
    assert alone[0] == watched[0]
    for before, after in zip(alone[1] + alone[2] + [alone[3]], watched[1] + watched[2] + [watched[3]]):
        assert (before is None) == (after is None)
        assert before is None or torch.equal(before, after)


@each_signal
def test_its_names_can_travel_and_are_nobody_elses(kind: type[Signal]) -> None:
    assert kind.names
    others = {name for other in SIGNALS if other is not kind for name in other.names}
    for name in kind.names:
        assert checked_name(name) == name
        assert name in STANDARD_SIGNALS or name in BESIDE_THE_COLUMNS or name.split("/")[0] in BY_NAME
        assert name not in others


@each_signal
def test_it_puts_out_only_its_names_and_only_single_values(kind: type[Signal]) -> None:
    model = seeded()
    optimizer = OPTIMIZERS["adamw"](model.parameters())
    one = OneSignal(kind, model, optimizer)
    signal = one.signals[-1]
    for step in range(3):
        optimizer.zero_grad()
        loss_of(model, step).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        values = signal.collect()
        whole = {name for name in kind.names if not name.endswith("/")}
        beginnings = tuple(name for name in kind.names if name.endswith("/"))
        assert all(name in whole or name.startswith(beginnings) for name in values)
        for value in values.values():
            assert isinstance(value, float) or (value.dim() == 0 and not value.requires_grad)


@each_signal
def test_a_collected_step_is_forgotten(kind: type[Signal]) -> None:
    model = seeded()
    optimizer = OPTIMIZERS["adamw"](model.parameters())
    one = OneSignal(kind, model, optimizer)
    loss_of(model, 0).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    one.observe(0.0)
    lasting = {"learning_rate", "step_seconds", "loss_scale"}
    assert set(one.signals[-1].collect()) <= lasting


@each_signal
def test_a_step_that_is_forgotten_leaves_nothing_behind(kind: type[Signal]) -> None:
    model = seeded()
    optimizer = OPTIMIZERS["adamw"](model.parameters())
    one = OneSignal(kind, model, optimizer)
    loss_of(model, 0).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    for signal in one.signals:
        signal.forget_step()
    assert set(one.signals[-1].collect()) <= {"learning_rate", "step_seconds", "loss_scale"}


@each_signal
def test_one_that_measures_updates_only_has_nothing_to_say_without_one(kind: type[Signal]) -> None:
    model = seeded()
    optimizer = OPTIMIZERS["adamw"](model.parameters())
    signal = OneSignal(kind, model, optimizer).signals[-1]
    loss_of(model, 0).backward()  # type: ignore[no-untyped-call]
    assert not (signal.measures_updates_only and signal.collect())


@each_signal
def test_what_does_not_concern_it_it_leaves_alone(kind: type[Signal]) -> None:
    model = seeded()
    signal = OneSignal(kind, model, OPTIMIZERS["adamw"](model.parameters())).signals[-1]
    if kind.concerned is None:
        return
    for number in (1.0, 0.0, float("nan")):
        values = dict.fromkeys({*STANDARD_SIGNALS, *BESIDE_THE_COLUMNS} - kind.concerned, number)
        before, own = repr(values), repr(vars(signal))
        signal.interpret(values)
        assert (repr(values), repr(vars(signal))) == (before, own)


def test_a_norm_that_was_told_is_there_also_where_a_scaler_then_skipped_the_update() -> None:
    model = seeded()
    watch = Watch(model, torch.optim.SGD(model.parameters(), lr=0.1))
    watch.senses.norm_seen(3.0)
    assert watch.observe(1.0)["grad_norm"] == 3.0
    assert "grad_norm" not in watch.observe(1.0)


def test_more_sets_of_names_than_are_remembered_are_interpreted_alike() -> None:
    model = seeded()
    watch = Watch(model, torch.optim.SGD(model.parameters(), lr=0.1))
    for step in range(200):
        values = watch.observe(1.0, grad_norm=float("inf"), **{f"other_{step}": 1.0})
        assert values["nonfinite_grads"] == 1.0


class _Kept:
    """What an autograd graph holds for its backward pass."""


class _Identity(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, kept: _Kept) -> Tensor:
        ctx.kept = kept
        return value.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def test_no_gradient_and_no_graph_is_kept_alive() -> None:
    model = seeded()
    optimizer = OPTIMIZERS["adamw"](model.parameters())
    watch = Watch(model, optimizer)
    kept = _Kept()
    loss = _Identity.apply(loss_of(model, 0), kept)  # type: ignore[no-untyped-call]
    loss.backward()
    gradients = [weakref.ref(p.grad) for p in model.parameters() if p.grad is not None]
    optimizer.step()
    reading = watch.senses.reading(loss, {"again": loss})
    optimizer.zero_grad(set_to_none=True)
    graph = weakref.ref(kept)
    del loss, kept
    gc.collect()
    assert all(gradient() is None for gradient in gradients)
    assert graph() is None
    assert reading.ready()


def test_parameters_that_come_and_go_are_followed() -> None:
    model = nn.Linear(4, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    watch = Watch(model, optimizer)
    added = nn.Parameter(torch.ones(3000))
    for step in range(3):
        optimizer.zero_grad()
        loss = model(torch.ones(2, 4)).pow(2).mean() + (added.pow(2).sum() if step else 0.0)
        loss.backward()
        optimizer.step()
        values = watch.observe(loss)
        if step == 0:
            optimizer.add_param_group({"params": [added], "lr": 0.25})
    assert values["learning_rate"] == 0.5
    # a gradient of twice the value at a rate of 0.25 halves it at every step: 1, 0.5, 0.25
    expected = torch.cat([model.weight.detach().flatten(), model.bias.detach(), added.detach()]).norm().item()
    assert values["param_norm"] == pytest.approx(expected, rel=1e-4)
    assert added[0].item() == pytest.approx(0.25)


def test_the_senses_hold_one_of_each() -> None:
    model = seeded(Mixed)
    senses = Senses(model, [torch.optim.SGD(model.parameters(), lr=0.1)])
    assert [type(signal) for signal in senses.signals] == list(SIGNALS)
