"""The rates: as the schedule set them, and as the update was made with them."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from client_hook.signals.announced import AnnouncedRates
from client_hook.signals.base import Signal, Watched

MAX_GROUPS = 16


class LearningRate(Signal):
    """``learning_rate`` is the highest rate among the groups of the optimizers stepped, before the multiplier.

    Read *at* the step: by the time of ``observe`` some loops have stepped their scheduler and some have not.
    A rate that is a tensor is copied, because the multiplier changes it in place.

    ``effective_learning_rate/k`` is what group ``k`` was updated with: the scheduled rate times the multiplier,
    a second warm-up included. Put out only where it says more than ``learning_rate`` does: with several groups
    (counted through all optimizers, the first 16) or with a multiplier in force.

    ``announced_learning_rate`` is what the scheduler says of a group that has another rate, which then stands beside
    it as ``unannounced_learning_rate`` (`AnnouncedRates`); neither is there where all groups follow.
    """

    names: ClassVar[tuple[str, ...]] = (
        "learning_rate",
        *(f"effective_learning_rate/{index}" for index in range(MAX_GROUPS)),
        "announced_learning_rate",
        "unannounced_learning_rate",
    )

    def __init__(self, watched: Watched) -> None:
        super().__init__(watched)
        self._rates: dict[int, list[Tensor | float]] = {}
        self._factor = 1.0
        self._announced = AnnouncedRates(watched.schedulers) if watched.schedulers else None
        self._difference: tuple[float, float] | None = None

    def before_update(self, optimizer: Optimizer) -> None:
        """Read this optimizer's rates."""
        rates = self._rates[id(optimizer)] = _rates_of(optimizer)
        self._factor = self.watched.rate_factor()
        if self._announced is not None:
            self._difference = self._difference or self._announced.difference(optimizer, rates)

    def collect(self) -> dict[str, Tensor | float]:
        """Where no optimizer was stepped (a scaler skipped it), the rates that stand now."""
        if not self._rates:
            standing = self._standing()
            return {} if standing is None else {"learning_rate": standing}
        stepped, self._rates = self._rates, {}
        difference, self._difference = self._difference, None
        every = [rate for rates in stepped.values() for rate in rates]
        if not every:
            return {}
        values = {"learning_rate": _maximum(every)}
        if difference is not None:
            values["announced_learning_rate"], values["unannounced_learning_rate"] = difference
        if len(self.watched.optimizers) > 1 or len(every) > 1 or self._factor != 1.0:
            index = 0
            for optimizer in self.watched.optimizers:
                rates = stepped.get(id(optimizer))
                if rates is None:
                    index += len(optimizer.param_groups)
                    continue
                for rate in rates:
                    if index < MAX_GROUPS:
                        values[f"effective_learning_rate/{index}"] = rate * self._factor
                    index += 1
        return values

    def _standing(self) -> Tensor | float | None:
        optimizers = self.watched.optimizers
        if len(optimizers) == 1 and len(optimizers[0].param_groups) == 1:
            rate = optimizers[0].param_groups[0].get("lr")
            if type(rate) is float:  # mostly, and then there is nothing to compare
                return rate
        rates = [rate for optimizer in optimizers for rate in _rates_of(optimizer)]
        return _maximum(rates) if rates else None


def _rates_of(optimizer: Optimizer) -> list[Tensor | float]:
    rates: list[Tensor | float] = []
    for group in optimizer.param_groups:
        rate = group.get("lr")
        if type(rate) is float:
            rates.append(rate)
        elif isinstance(rate, Tensor):
            rates.append(rate.detach().clone().reshape(()) if rate.is_cuda else float(rate))
        elif rate is not None:
            rates.append(float(rate))
    return rates


def _maximum(rates: list[Tensor | float]) -> Tensor | float:
    if len(rates) == 1:
        return rates[0]
    on_device = [rate for rate in rates if isinstance(rate, Tensor)]
    numbers = [float(rate) for rate in rates if not isinstance(rate, Tensor)]
    if not on_device:
        return max(numbers)
    highest = torch.stack([rate.to(on_device[0].device, torch.float64) for rate in on_device]).max()
    return highest.clamp_min(max(numbers)) if numbers else highest
