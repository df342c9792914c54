"""What a small training is made of, and the one loop body that all of them share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

Tensors = tuple[Tensor, ...]
MayUpdate = Callable[[Tensor], bool]
"""Asked with the loss between backward and update; may change the gradients, and says whether to update."""


@dataclass(frozen=True)
class Batch:
    """Tensors and their position in the stream, which no rollback takes back."""

    position: int
    tensors: Tensors


class Stream:
    """Endless batches; position ``n`` is always the same batch for the same seed, whoever asks."""

    def __init__(self, draw: Callable[[torch.Generator], Tensors], seed: int) -> None:
        self._draw = draw
        self._seed = seed

    def at(self, position: int) -> Batch:
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + position)
        return Batch(position, self._draw(generator))

    def __iter__(self) -> Iterator[Batch]:
        position = 0
        while True:
            yield self.at(position)
            position += 1


Factor = Callable[[int], float]


@dataclass
class Training:
    """Model, optimizer and all that belongs to one run. ``forward`` makes the loss of a batch, a scalar."""

    model: nn.Module
    optimizers: Sequence[Optimizer]
    forward: Callable[[Tensors], Tensor]
    validate: Callable[[], float]
    """Loss on data that was kept back; the same data at every call."""
    draw: Callable[[torch.Generator], Tensors]
    scaler: torch.amp.GradScaler | None = None
    schedulers: list[LambdaLR] = field(default_factory=list)
    spoil_loss: Callable[[int, Tensor], Tensor] = lambda position, loss: loss
    forward_scale: float = 1.0
    """For a fault in the forward pass."""

    def schedule(self, factor: Factor) -> None:
        self.schedulers = [LambdaLR(optimizer, factor) for optimizer in self.optimizers]

    def iterate(self, batch: Batch, may_update: MayUpdate) -> Tensor:
        """One step of the training; the loss."""
        [optimizer] = self.optimizers
        loss = self.spoil_loss(batch.position, self.forward(batch.tensors))
        scaler = self.scaler
        if scaler is None:
            loss.backward()  # type: ignore[no-untyped-call]
            if may_update(loss):
                optimizer.step()
        else:
            scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            scaler.unscale_(optimizer)
            if may_update(loss):
                scaler.step(optimizer)
            scaler.update()
        self._advance()
        return loss.detach()

    def _advance(self) -> None:
        for scheduler in self.schedulers:
            scheduler.step()
        for optimizer in self.optimizers:
            optimizer.zero_grad()

    def parameters(self) -> list[nn.Parameter]:
        return list(self.model.parameters())

    @property
    def scheduled_rate(self) -> float:
        return float(self.optimizers[0].param_groups[0]["lr"])


@dataclass(frozen=True)
class Workload:
    """A kind of training by name: ``build(seed)`` makes the model from its seed."""

    name: str
    words: str
    build: Callable[[int], Training]
    steps: int
    warm_up: int

    def factor(self, step: int) -> float:
        """Of the peak rate: a linear warm-up, then a slow linear fall to two fifths."""
        return min(1.0, (step + 1) / self.warm_up) * (1.0 - 0.6 * min(1.0, step / self.steps))


def validation_of(forward: Callable[[Tensors], Tensor], draw: Any, model: nn.Module, batches: int) -> float:
    """Mean loss over batches that no training seed draws."""
    stream = Stream(draw, seed=1_000_000)
    model.eval()
    with torch.no_grad():
        total = sum(forward(stream.at(position).tensors).item() for position in range(batches))
    model.train()
    return total / batches
