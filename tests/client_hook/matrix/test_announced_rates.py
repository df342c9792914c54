"""A rate that is not the scheduler's is found; whatever a loop or a schedule does on purpose is no alarm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import Optimizer, lr_scheduler

from tests.client_hook.matrix.observations import attach, listen
from tests.client_hook.matrix.trainings import SCHEDULERS, make_optimizer
from trainguard.detectors import build_detector
from trainguard.wire import Finding

STEPS = 60
EPOCH = 5


class Loop:
    """A tiny training with two parameter groups, whose rates somebody else may write."""

    def __init__(self, make: Callable[[Optimizer], Any], *, kind: str = "AdamW", **options: Any) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 1, bias=False))
        self.optimizer = make_optimizer(kind, self.model)
        self.scheduler = make(self.optimizer)
        self.hook = attach(self.model, self.optimizer, scheduler=self.scheduler, **options)
        self.heard = listen(self.hook)

    def run(
        self,
        steps: int = STEPS,
        *,
        meddle: Callable[[int, Optimizer], None] = lambda step, optimizer: None,
        every: int = 1,
        observe_first: bool = False,
    ) -> list[Finding]:
        """Train; ``meddle`` comes right after the scheduler. What the detector says of it all."""
        for step in range(steps):
            self.optimizer.zero_grad()
            loss = self.model(torch.ones(2, 4)).square().mean()
            loss.backward()
            self.optimizer.step()
            if observe_first:
                self.hook.observe(loss)
            if (step + 1) % every == 0:
                is_plateau = isinstance(self.scheduler, lr_scheduler.ReduceLROnPlateau)
                self.scheduler.step(*((1.0,) if is_plateau else ()))
            meddle(step, self.optimizer)
            if not observe_first:
                self.hook.observe(loss)
        self.hook.close()
        detector = build_detector("learning_rate")
        findings = [detector.update(observation) for observation in self.heard]
        return [finding for finding in findings if finding is not None and "scheduler says" in finding.message]

    @property
    def differs(self) -> list[int]:
        return [one.step for one in self.heard if "announced_learning_rate" in one.signals]


def exponential(optimizer: Optimizer) -> Any:
    return lr_scheduler.ExponentialLR(optimizer, 0.999)


def set_rates(optimizer: Optimizer, *rates: float) -> None:
    for group, rate in zip(optimizer.param_groups, rates):
        group["lr"] = rate


@pytest.mark.parametrize("name", [name for name in SCHEDULERS if name != "by hand"])
@pytest.mark.parametrize("kind", ["AdamW", "Adam tensor rate"])
def test_a_schedule_that_is_followed_announces_nothing_else(name: str, kind: str) -> None:
    """The matrix has each of them with the multiplier on; here per epoch, and after ``observe``."""
    loop = Loop(SCHEDULERS[name], kind=kind)
    loop.hook._training.rate.scale = 0.3
    assert not loop.run(observe_first=True, every=EPOCH)
    assert not loop.differs


def test_warm_restarts_and_two_schedulers_of_one_optimizer_are_no_difference() -> None:
    restarts = Loop(lambda optimizer: lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 7, T_mult=2))
    assert not restarts.run()
    assert not restarts.differs
    loop = Loop(exponential)
    loop.hook.close()
    plateau = lr_scheduler.ReduceLROnPlateau(loop.optimizer, patience=0, factor=0.5)
    loop.hook = attach(loop.model, loop.optimizer, scheduler=[loop.scheduler, plateau])
    loop.heard = listen(loop.hook)

    def by_epoch(step: int, optimizer: Optimizer) -> None:
        if step % EPOCH == EPOCH - 1:
            plateau.step(1.0)

    assert not loop.run(meddle=by_epoch)
    assert not loop.differs


@pytest.mark.parametrize(
    "schedule",
    [exponential, lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))],
    ids=["from what it finds", "in closed form"],
)
def test_a_rate_that_is_written_behind_the_schedulers_back_is_found(schedule: Callable[[Optimizer], Any]) -> None:
    loop = Loop(schedule)

    def leftover(step: int, optimizer: Optimizer) -> None:
        if step >= 20:
            set_rates(optimizer, 0.01, 0.01)

    [finding] = loop.run(meddle=leftover)
    assert (finding.onset_step, finding.step) == (21, 30)
    assert finding.severity == "warning"
    assert finding.evidence["announced_learning_rate"] < 0.01


def test_a_group_below_the_highest_is_found_too() -> None:
    def groups(optimizer: Optimizer) -> Any:
        set_rates(optimizer, 1e-4, 1e-2)
        return exponential(optimizer)

    loop = Loop(groups)

    def same_for_all(step: int, optimizer: Optimizer) -> None:
        set_rates(optimizer, optimizer.param_groups[1]["lr"], optimizer.param_groups[1]["lr"])
        if step == 0:
            loop.scheduler = type("Rests", (), {"step": lambda self: None})()

    [finding] = loop.run(meddle=same_for_all)
    assert finding.value == pytest.approx(1e-2, rel=1e-2)
    assert finding.evidence["announced_learning_rate"] == pytest.approx(1e-4, rel=1e-2)


def warm_up(step: int, optimizer: Optimizer) -> None:
    if step < 40:
        set_rates(optimizer, *(0.01 * (step + 1) / 40 for _ in optimizer.param_groups))


def dampened(step: int, optimizer: Optimizer) -> None:
    set_rates(optimizer, *(group["lr"] * (1 - 0.99 ** (step + 2)) for group in optimizer.param_groups))


def now_and_then(step: int, optimizer: Optimizer) -> None:
    if step % 20 == 10:
        set_rates(optimizer, 0.005, 0.005)


@pytest.mark.parametrize("meddle", [warm_up, dampened, now_and_then])
def test_a_loop_with_a_schedule_of_its_own_over_the_schedulers_is_left_in_peace(
    meddle: Callable[[int, Optimizer], None],
) -> None:
    loop = Loop(exponential)
    assert not loop.run(meddle=meddle, every=EPOCH)
    assert loop.differs


def test_a_scheduler_that_nobody_steps_announces_nothing() -> None:
    loop = Loop(exponential)
    assert not loop.run(meddle=lambda step, optimizer: set_rates(optimizer, 0.5, 0.5), every=1_000)
    assert not loop.differs


def test_a_scheduler_of_somebodys_own_making_announces_nothing() -> None:
    class NoBook(lr_scheduler.LRScheduler):
        def step(self, epoch: int | None = None) -> None:
            self.last_epoch += 1
            for group in self.optimizer.param_groups:
                group["lr"] = 0.003

        def get_lr(self) -> Any:
            return [0.01 for _ in self.optimizer.param_groups]

    loop = Loop(NoBook)
    assert not loop.run()
    assert not loop.differs
