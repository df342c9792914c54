"""The rate as the schedule set it."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from client_hook.signals.base import Signal, Watched


class LearningRate(Signal):
    """The highest rate among the groups of the optimizers stepped, read before the multiplier is applied.

    Read *at* the step: by the time of ``observe`` some loops have stepped their scheduler and some have not.
    A rate that is a tensor is copied, because the multiplier changes it in place.
    """

    names: ClassVar[tuple[str, ...]] = ("learning_rate",)

    def __init__(self, watched: Watched) -> None:
        super().__init__(watched)
        self._rates: dict[int, Tensor | float] = {}

    def before_update(self, optimizer: Optimizer) -> None:
        """Read this optimizer's rates."""
        rate = _highest(optimizer)
        if rate is not None:
            self._rates[id(optimizer)] = rate

    def collect(self) -> dict[str, Tensor | float]:
        """Where no optimizer was stepped (a scaler skipped it), the rates that stand now."""
        rates = list(self._rates.values())
        self._rates.clear()
        if not rates:
            rates = [rate for rate in map(_highest, self.watched.optimizers) if rate is not None]
        return {"learning_rate": _maximum(rates)} if rates else {}


def _highest(optimizer: Optimizer) -> Tensor | float | None:
    rates: list[Tensor | float] = []
    for group in optimizer.param_groups:
        rate = group.get("lr")
        if isinstance(rate, Tensor):
            rates.append(rate.detach().clone().reshape(()) if rate.is_cuda else float(rate))
        elif rate is not None:
            rates.append(float(rate))
    return _maximum(rates) if rates else None


def _maximum(rates: list[Tensor | float]) -> Tensor | float:
    on_device = [rate for rate in rates if isinstance(rate, Tensor)]
    numbers = [float(rate) for rate in rates if not isinstance(rate, Tensor)]
    if not on_device:
        return max(numbers)
    highest = torch.stack([rate.to(on_device[0].device, torch.float64) for rate in on_device]).max()
    return highest.clamp_min(max(numbers)) if numbers else highest
