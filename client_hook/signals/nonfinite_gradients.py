"""How many gradient elements are NaN or infinite."""

from __future__ import annotations

import math
from typing import ClassVar

from torch import Tensor
from torch.optim import Optimizer

from client_hook.signals.base import Signal, Watched
from client_hook.signals.tensors import count_nonfinite, gradients_of


class NonFiniteGradients(Signal):
    """Counted only when the norm is not finite, otherwise 0: one NaN anywhere makes the norm NaN.

    On CUDA the norm cannot be looked at without waiting, so counting starts on the step after the first bad
    one; that first step says 1, meaning "at least one".
    """

    names: ClassVar[tuple[str, ...]] = ("nonfinite_grads",)
    measures_updates_only = True
    concerned: ClassVar[frozenset[str] | None] = frozenset({"grad_norm", "grad_norm_clipped"})

    def __init__(self, watched: Watched) -> None:
        super().__init__(watched)
        self._counts: dict[int, Tensor | float] = {}

    def before_update(self, optimizer: Optimizer) -> None:
        """Count where this step's norm, already measured, calls for it."""
        self._counts.pop(id(optimizer), None)
        self._count(optimizer)

    def after_update(self, optimizer: Optimizer) -> None:
        """The same for gradients that came into being during the step."""
        if id(optimizer) not in self._counts:
            self._count(optimizer)

    def collect(self) -> dict[str, Tensor | float]:
        """Nothing where no norm was measured or none could be looked at."""
        counts = list(self._counts.values())
        self._counts.clear()
        if not counts:
            return {}
        total = counts[0]
        for count in counts[1:]:
            total = total + (
                count.to(total.device) if isinstance(count, Tensor) and isinstance(total, Tensor) else count
            )
        return {"nonfinite_grads": total}

    def interpret(self, values: dict[str, float]) -> None:
        """Fill in what was not counted."""
        if "nonfinite_grads" in values:
            return
        norm = values.get("grad_norm", values.get("grad_norm_clipped"))
        if norm is not None:
            values["nonfinite_grads"] = 0.0 if math.isfinite(norm) else 1.0

    def _count(self, optimizer: Optimizer) -> None:
        norm = self.watched.gradient_norms.get(id(optimizer))
        if norm is None:
            return
        if norm.device.type == "cpu":
            is_finite = math.isfinite(norm.item())
            self._counts[id(optimizer)] = 0.0 if is_finite else count_nonfinite(gradients_of(optimizer))
        elif self.watched.alarmed:
            self._counts[id(optimizer)] = count_nonfinite(gradients_of(optimizer))
