"""How large the step's change is against the parameters: the number that says whether a rate is sane."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from client_hook.signals.base import Signal, Watched
from client_hook.signals.sampling import ParameterSample
from client_hook.signals.tensors import together

SEED = 0x7261696E


class UpdateRatio(Signal):
    """L2 norms of the parameters the optimizers own and of the step's change to them, estimated by sampling.

    An exact one needs a copy of the model: 130 ms on a step of 570 ms for 10.8 M parameters on two cores.
    Sampling 1,024 elements per tensor costs under 1 ms; `ParameterSample` says how exact it is. Of several
    optimizers the norms are combined; one that was not stepped keeps its last parameter norm and adds no
    update. A step that was skipped has an update of 0.
    """

    names: ClassVar[tuple[str, ...]] = ("param_norm", "update_norm", "update_ratio")

    def __init__(self, watched: Watched) -> None:
        super().__init__(watched)
        self._samples: dict[int, ParameterSample] = {}
        self._updates: dict[int, Tensor] = {}

    def before_update(self, optimizer: Optimizer) -> None:
        """Copy the samples."""
        sample = self._samples.get(id(optimizer))
        if sample is None:
            sample = self._samples[id(optimizer)] = ParameterSample(optimizer, SEED + len(self._samples))
        sample.before()

    def after_update(self, optimizer: Optimizer) -> None:
        """Compare them with what the parameters are now."""
        sample = self._samples.get(id(optimizer))
        norms = None if sample is None else sample.after()
        if norms is not None:
            self.watched.parameter_norms[id(optimizer)], self._updates[id(optimizer)] = norms

    def collect(self) -> dict[str, Tensor | float]:
        """Nothing where no optimizer was stepped."""
        update = together(list(self._updates.values()))
        parameters = together(list(self.watched.parameter_norms.values()))
        self._updates.clear()
        if update is None or parameters is None:
            return {}
        # All-zero parameters that stayed so have a ratio of 0, not of NaN.
        ratio = update / parameters.clamp_min(torch.finfo(parameters.dtype).tiny)
        return {"param_norm": parameters, "update_norm": update, "update_ratio": ratio}

    def forget_step(self) -> None:
        """Also the samples: they are of parameters that were put back."""
        super().forget_step()
        for sample in self._samples.values():
            sample.forget()
