"""Senses on optimizers, without the hook around them: what it does with them, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from client_hook.signals import SenseOptions, Senses


class Watch:
    """Registers the senses as the hook does; ``observe`` gives the numbers of the step just made."""

    def __init__(
        self,
        model: nn.Module,
        *optimizers: Optimizer,
        scaler: Any | None = None,
        clock: Callable[[], float] = lambda: 0.0,
        options: SenseOptions | None = None,
        rate_factor: Callable[[], float] = lambda: 1.0,
        complain: Callable[[str, str], object] = lambda kind, message: None,
    ) -> None:
        self.senses = Senses(
            model,
            optimizers,
            scaler=scaler,
            clock=clock,
            options=options,
            rate_factor=rate_factor,
            complain=complain,
        )
        for optimizer in optimizers:
            optimizer.register_step_pre_hook(lambda one, args, kwargs: self.senses.before_update(one))
            optimizer.register_step_post_hook(lambda one, args, kwargs: self.senses.after_update(one))

    def observe(self, loss: Any = 0.0, **extra: Any) -> dict[str, float]:
        return dict(self.senses.read(self.senses.reading(loss, extra)))


class Mixed(nn.Module):
    """Everything that has ever surprised a reader of gradients, in one small model."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(50, 8)
        self.first = nn.Linear(8, 64)
        self.second = nn.Linear(64, 4)
        self.empty = nn.Parameter(torch.empty(0, 3))
        self.unused = nn.Parameter(torch.ones(5))
        self.frozen = nn.Parameter(torch.ones(7), requires_grad=False)
        self.scalar = nn.Parameter(torch.tensor(1.5))

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = torch.tanh(self.first(self.words(tokens)))
        score: Tensor = self.second(hidden) * self.scalar + self.empty.sum()
        return score


def seeded(make: Callable[[], nn.Module] = Mixed, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return make()


def batch(step: int, size: int = 16) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1000 + step)
    return (
        torch.randint(0, 50, (size,), generator=generator),
        torch.randn(size, 4, generator=generator),
    )


def loss_of(model: nn.Module, step: int) -> Tensor:
    tokens, wanted = batch(step)
    return nn.functional.mse_loss(model(tokens), wanted)


def exact_norm(tensors: Sequence[Tensor]) -> float:
    """The L2 norm over all elements, in float64, by the definition."""
    return math.sqrt(sum(float(tensor.detach().to_dense().double().pow(2).sum()) for tensor in tensors))


def gradient_norm(model: nn.Module) -> float:
    return exact_norm([p.grad for p in model.parameters() if p.grad is not None])


def poison(model: nn.Module, value: float) -> None:
    """Make one gradient element what it should not be."""
    gradient = model.get_parameter("first.weight").grad
    assert gradient is not None
    gradient[0, 0] = value
