"""How many of the model's parameter elements are NaN or infinite."""

from __future__ import annotations

import math
from typing import ClassVar

from torch import Tensor
from torch.optim import Optimizer

from client_hook.signals.base import Signal, Watched
from client_hook.signals.tensors import count_nonfinite, real_values


class NonFiniteParameters(Signal):
    """Counted over the whole model, but only when a norm (gradients' or sampled parameters') is not finite.

    A single bad element outside the sample shows itself in the gradients of the step that uses it; one that
    no step uses is not seen here. On CUDA counting starts one step late, see `NonFiniteGradients`.
    """

    names: ClassVar[tuple[str, ...]] = ("nonfinite_params",)
    measures_updates_only = True
    concerned: ClassVar[frozenset[str] | None] = frozenset({"param_norm"})

    def __init__(self, watched: Watched) -> None:
        super().__init__(watched)
        self._count: Tensor | float | None = None

    def after_update(self, optimizer: Optimizer) -> None:
        """Count where one of this step's norms calls for it."""
        norms = [
            table[id(optimizer)]
            for table in (self.watched.gradient_norms, self.watched.parameter_norms)
            if id(optimizer) in table
        ]
        if not norms:
            return
        on_host = [norm for norm in norms if norm.device.type == "cpu"]
        if self.watched.alarmed or not all(math.isfinite(norm.item()) for norm in on_host):
            self._count = count_nonfinite(real_values(p) for p in self.watched.model.parameters())
        elif len(on_host) == len(norms):
            self._count = 0.0

    def collect(self) -> dict[str, Tensor | float]:
        """Nothing where nothing was measured or no norm could be looked at."""
        count, self._count = self._count, None
        return {} if count is None else {"nonfinite_params": count}

    def interpret(self, values: dict[str, float]) -> None:
        """Fill in what was not counted."""
        norm = values.get("param_norm")
        if "nonfinite_params" not in values and norm is not None:
            values["nonfinite_params"] = 0.0 if math.isfinite(norm) else 1.0
