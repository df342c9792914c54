"""Small trainings of every kind, to be captured, disturbed, restored and compared bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import LBFGS, SGD, Adafactor, Adam, AdamW, Optimizer, RMSprop
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
)

from client_hook.recovery.snapshot import TrainingState

OPTIMIZERS: dict[str, Callable[[Any], Optimizer]] = {
    "sgd": lambda groups: SGD(groups, lr=0.05),
    "sgd-momentum": lambda groups: SGD(groups, lr=0.05, momentum=0.9, nesterov=True),
    "sgd-fused": lambda groups: SGD(groups, lr=0.05, momentum=0.9, fused=True),
    "adam-amsgrad": lambda groups: Adam(groups, lr=0.01, amsgrad=True),
    "adamw": lambda groups: AdamW(groups, lr=0.01),
    "adamw-foreach": lambda groups: AdamW(groups, lr=0.01, foreach=True),
    "adamw-fused": lambda groups: AdamW(groups, lr=0.01, fused=True),
    "adamw-tensor-rate": lambda groups: AdamW(groups, lr=torch.tensor(0.01), foreach=False),
    "rmsprop": lambda groups: RMSprop(groups, lr=0.01, momentum=0.5, centered=True),
    "adafactor": lambda groups: Adafactor(groups, lr=0.01),
}

SCHEDULERS: dict[str, Callable[[Optimizer], Any]] = {
    "lambda": lambda optimizer: LambdaLR(optimizer, lambda step: 0.9**step),
    "exponential": lambda optimizer: ExponentialLR(optimizer, gamma=0.9),
    "one-cycle": lambda optimizer: OneCycleLR(optimizer, max_lr=0.1, total_steps=40, cycle_momentum=True),
    "cosine": lambda optimizer: CosineAnnealingLR(optimizer, T_max=20),
    "warm-restarts": lambda optimizer: CosineAnnealingWarmRestarts(optimizer, T_0=4),
    "sequential": lambda optimizer: SequentialLR(
        optimizer, [LinearLR(optimizer, total_iters=4), CosineAnnealingLR(optimizer, T_max=20)], milestones=[4]
    ),
    "chained": lambda optimizer: ChainedScheduler(
        [ConstantLR(optimizer, factor=0.5, total_iters=3), ExponentialLR(optimizer, gamma=0.9)]
    ),
    "plateau": lambda optimizer: ReduceLROnPlateau(optimizer, patience=1, factor=0.5),
}


class Net(nn.Module):
    """With dropout (random streams), batch norm (buffers), a frozen weight and a non-persistent buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.norm = nn.BatchNorm1d(8)
        self.last = nn.Linear(8, 2)
        self.frozen = nn.Parameter(torch.randn(8), requires_grad=False)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.register_buffer("cache", torch.zeros(3), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += 1
        self.cache += 0.5
        hidden = torch.tanh(self.norm(self.first(inputs)) + self.frozen)
        return self.last(nn.functional.dropout(hidden, 0.3, self.training))  # type: ignore[no-any-return]


class Average:
    """Somebody's EMA: keeps the very tensors that it is given."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.shadow = {name: weight.detach().clone() for name, weight in model.named_parameters()}
        self.best = float("inf")

    def update(self, loss: float) -> None:
        self.best = min(self.best, loss)
        for name, weight in self.model.named_parameters():
            self.shadow[name].lerp_(weight.detach(), 0.1)

    def state_dict(self) -> dict[str, Any]:
        return {"shadow": self.shadow, "best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.shadow, self.best = state["shadow"], state["best"]


@dataclass
class Rig:
    """One training with everything that a rollback gives back."""

    optimizer_kind: str = "adamw"
    scheduler_kind: str = "lambda"
    seed: int = 0
    model: nn.Module = field(init=False)
    optimizer: Optimizer = field(init=False)
    scheduler: Any = field(init=False)
    average: Average = field(init=False)
    state: TrainingState = field(init=False)

    def __post_init__(self) -> None:
        torch.manual_seed(self.seed)
        self.model = Net()
        groups = [{"params": self.model.first.parameters()}, {"params": [*self.model.norm.parameters()]}]
        groups.append({"params": [*self.model.last.parameters(), self.model.frozen]})
        self.optimizer = OPTIMIZERS[self.optimizer_kind](groups)
        self.scheduler = SCHEDULERS[self.scheduler_kind](self.optimizer)
        self.average = Average(self.model)
        self.state = TrainingState(self.model, self.optimizer, self.scheduler, state={"ema": self.average})

    def train(self, steps: int) -> list[float]:
        """The losses of ``steps`` steps; data and dropout come from torch's own stream."""
        losses = []
        for _ in range(steps):
            inputs = torch.randn(16, 6)
            self.optimizer.zero_grad()
            loss = (self.model(inputs) - inputs[:, :2]).square().mean()
            loss.backward()
            self.optimizer.step()
            if isinstance(self.scheduler, ReduceLROnPlateau):
                self.scheduler.step(loss.item())
            else:
                self.scheduler.step()
            self.average.update(loss.item())
            losses.append(loss.item())
        return losses

    def rates(self) -> list[float]:
        return [float(group["lr"]) for group in self.optimizer.param_groups]


def lbfgs_rig() -> tuple[nn.Module, LBFGS, Callable[[int], list[float]]]:
    """LBFGS keeps everything under its first parameter, lists of tensors among it."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 2))
    optimizer = LBFGS(model.parameters(), lr=0.3, max_iter=3, history_size=3)
    inputs = torch.randn(16, 6)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (model(inputs) - inputs[:, :2]).square().mean()
        loss.backward()
        return loss

    return model, optimizer, lambda steps: [optimizer.step(closure).item() for _ in range(steps)]  # type: ignore[union-attr]
