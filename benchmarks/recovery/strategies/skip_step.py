"""OLMo-core's skip-step rule: leave an update out whose loss or gradient norm lies too high."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from statistics import fmean
from typing import ClassVar

from torch import Tensor, nn

from benchmarks.recovery.strategies.base import Strategy
from benchmarks.recovery.workloads import Training


class SkipStep(Strategy):
    """Skipped unless both lie within 6 sample deviations of the mean of the last 64 to 128 values before.

    Every value enters its window, skipped or not, as in the rule. Where the original scales the update by 0, which
    leaves a NaN a NaN, the whole update is left out here: kinder to the rule than it is to itself.
    """

    window: ClassVar[int] = 128
    deviations: ClassVar[float] = 6.0

    def __init__(self, training: Training, steps: int, folder: Path | None) -> None:
        super().__init__(training, steps, folder)
        self._losses = deque[float](maxlen=self.window)
        self._norms = deque[float](maxlen=self.window)

    def may_update(self, loss: Tensor) -> bool:
        gradients = [p.grad for p in self.training.parameters() if p.grad is not None]
        inside = [
            self.is_inside(self._losses, loss.item()),
            self.is_inside(self._norms, float(nn.utils.get_total_norm(gradients))),
        ]
        self.account.updates_skipped += not all(inside)
        return all(inside)

    def is_inside(self, past: deque[float], value: float) -> bool:
        """Whether ``value`` lies within the band of ``past``, which it then joins."""
        inside = True
        if len(past) >= self.window // 2:
            mean = fmean(past)
            deviation = (sum((one - mean) ** 2 for one in past) / (len(past) - 1)) ** 0.5
            inside = value - mean <= self.deviations * deviation  # false for NaN, in the value or in the window
        past.append(value)
        return inside
