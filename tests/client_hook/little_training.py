"""A small, real training for the hook's tests: noisy regression, seeded, with a fault on request."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import client_hook


def rate_at(step: int) -> float:
    """Warm-up over 20 steps, then a slow cosine to a tenth, as a factor."""
    if step < 20:
        return (step + 1) / 20
    return 0.1 + 0.45 * (1 + math.cos(math.pi * min(1.0, step / 1000)))


@dataclass
class LittleTraining:
    """One model with its optimizer, schedule and data, all from one seed."""

    seed: int = 0
    rate: float = 1e-3
    dropout: float = 0.0
    model: nn.Module = field(init=False)
    optimizer: torch.optim.Optimizer = field(init=False)
    scheduler: Any = field(init=False)
    losses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        torch.manual_seed(self.seed)
        self.model = nn.Sequential(nn.Linear(16, 48), nn.Tanh(), nn.Dropout(self.dropout), nn.Linear(48, 1))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=self.rate)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, rate_at)
        self.truth = torch.randn(16, 1)

    def attach(self, **options: Any) -> client_hook.TrainingHook:
        options = {"run": "little", "scheduler": self.scheduler, "synchronous": True, **options}
        return client_hook.attach(self.model, self.optimizer, **options)

    def batch(self) -> tuple[Tensor, Tensor]:
        inputs = torch.randn(64, 16)
        return inputs, torch.tanh(inputs @ self.truth) + 0.3 * torch.randn(64, 1)

    def gradients(self, batch: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Forward and backward."""
        inputs, targets = batch if batch is not None else self.batch()
        loss = ((self.model(inputs) - targets) ** 2).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        self.losses.append(loss.item())
        return loss

    def update(self, *, scheduler: bool = True, rate_times: float = 1.0) -> None:
        """Clip is left to the caller; ``rate_times`` is a bug in somebody's schedule."""
        if rate_times != 1.0:
            for group in self.optimizer.param_groups:
                group["lr"] *= rate_times
        self.optimizer.step()
        if scheduler:
            self.scheduler.step()
        self.optimizer.zero_grad()

    def weights(self) -> list[Tensor]:
        return [parameter.detach().clone() for parameter in self.model.parameters()]


@dataclass
class Story:
    """What happened in a protected training."""

    outcomes: list[client_hook.StepOutcome] = field(default_factory=list)

    @property
    def rollbacks(self) -> list[client_hook.StepOutcome]:
        return [outcome for outcome in self.outcomes if outcome.rolled_back]


def train(
    training: LittleTraining,
    hook: client_hook.TrainingHook,
    steps: int,
    *,
    rate_times: Callable[[int], float] = lambda step: 1.0,
    scheduler_after_observe: bool = False,
) -> Story:
    """The plain loop of the README; ``rate_times`` is asked per step made."""
    story = Story()
    for step in hook.steps(steps):
        loss = training.gradients()
        hook.clip_grad_norm_(1.0)
        training.update(scheduler=not scheduler_after_observe, rate_times=rate_times(step))
        story.outcomes.append(hook.observe(loss))
        if scheduler_after_observe:
            training.scheduler.step()
    return story


def same(first: list[Tensor], second: list[Tensor]) -> bool:
    """Bit for bit, NaN included."""
    return len(first) == len(second) and all(
        torch.equal(one.view(torch.uint8), other.view(torch.uint8)) for one, other in zip(first, second)
    )


def fresh_folder(tmp_path: Path) -> str:
    return str(tmp_path / "checkpoints")
