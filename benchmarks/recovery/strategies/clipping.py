"""Two ways to bound the gradient's norm."""

from __future__ import annotations

from math import sqrt
from pathlib import Path
from typing import ClassVar

from torch import Tensor, nn

from benchmarks.recovery.strategies.base import Strategy
from benchmarks.recovery.workloads import Training


class ClipAtOne(Strategy):
    """``clip_grad_norm_`` at 1.0, as in most recipes."""

    def may_update(self, loss: Tensor) -> bool:
        nn.utils.clip_grad_norm_(self.training.parameters(), 1.0)
        return True


class ZClip(Strategy):
    """Clip where the norm's z-score exceeds 2.5, to a norm that is the nearer to the mean the larger z is.

    Mean and deviation are exponential (0.97), begun with the first 25 norms; the clipped norm enters them.
    """

    threshold: ClassVar[float] = 2.5
    keep: ClassVar[float] = 0.97
    warm_up: ClassVar[int] = 25

    def __init__(self, training: Training, steps: int, folder: Path | None) -> None:
        super().__init__(training, steps, folder)
        self._first: list[float] = []
        self._mean = self._variance = 0.0

    def may_update(self, loss: Tensor) -> bool:
        gradients = [p.grad for p in self.training.parameters() if p.grad is not None]
        norm = float(nn.utils.get_total_norm(gradients))
        limit = self.limit(norm)
        if limit < norm:
            for gradient in gradients:
                gradient.mul_(limit / norm)
        return True

    def limit(self, norm: float) -> float:
        """The norm that the gradient may have, which also enters the averages."""
        if len(self._first) < self.warm_up:
            self._first.append(norm)
            self._mean = sum(self._first) / len(self._first)
            self._variance = sum((one - self._mean) ** 2 for one in self._first) / len(self._first)
            return norm
        deviation = sqrt(self._variance)
        z = (norm - self._mean) / (deviation + 1e-8)
        allowed = self._mean + self.threshold**2 / z * deviation if z > self.threshold else norm
        self._mean = self.keep * self._mean + (1 - self.keep) * allowed
        self._variance = self.keep * self._variance + (1 - self.keep) * (allowed - self._mean) ** 2
        return allowed
