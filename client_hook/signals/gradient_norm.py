"""Global L2 norm of the gradients, before clipping and after it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from client_hook.signals.base import Signal, Watched
from client_hook.signals.clipping_ceiling import ClippingCeiling
from client_hook.signals.shards import share_of_norm
from client_hook.signals.tensors import gradients_of, parameters_of, together, total_norm


class GradientNorm(Signal):
    """What the step pre-hook sees, which is the norm *after* clipping, and what we were told from before it.

    Optimizer hooks run after clipping. So the norm measured there is called ``grad_norm`` only where nobody
    told us another and nothing looks clipped (`ClippingCeiling` says how sure that is). Where the norm before
    clipping is known, it is ``grad_norm``, and the measured one is ``grad_norm_clipped`` if it differs.

    Under a GradScaler a plain optimizer's gradients are already unscaled here (``scaler.step`` does it before
    ``optimizer.step``), a fused one's are not: it carries the scale as ``optimizer.grad_scale``, and the norm
    is divided by it (unscaled, 8 was measured as 8,192).

    An optimizer that makes its gradients in a closure (LBFGS) has none in the pre-hook, or stale ones; it is
    measured after the step, on the gradients of its last evaluation.
    """

    names: ClassVar[tuple[str, ...]] = ("grad_norm", "grad_norm_clipped")

    def __init__(self, watched: Watched) -> None:
        super().__init__(watched)
        self._ceiling = ClippingCeiling()
        self._told_now: Tensor | float | None = None
        self._told: dict[int, Tensor | float] = {}

    def told(self, norm: Tensor | float) -> None:
        """The norm before clipping, as the clipping itself computed it. It belongs to the next update."""
        self._told_now = norm

    def before_update(self, optimizer: Optimizer) -> None:
        """Measure, unless the gradients come from a closure."""
        if self._told_now is not None:
            self._told[id(optimizer)] = self._told_now
            self._told_now = None
        self.watched.gradient_norms.pop(id(optimizer), None)
        if not isinstance(optimizer, torch.optim.LBFGS):
            self._measure(optimizer)

    def after_update(self, optimizer: Optimizer) -> None:
        """Measure what only came into being during the step."""
        if id(optimizer) not in self.watched.gradient_norms:
            self._measure(optimizer)

    def collect(self) -> dict[str, Tensor | float]:
        """Over all optimizers: the measured norm, and the told one where there is one."""
        if not self.watched.gradient_norms and not self._told and self._told_now is None:
            return {}
        values: dict[str, Tensor | float] = {}
        measured = together(list(self.watched.gradient_norms.values()))
        if measured is not None:
            values["grad_norm_clipped"] = measured
        told = list(self._told.values())
        if self._told_now is not None:
            # Clipped, and then no optimizer was stepped: a GradScaler skipped the update.
            told.append(self._told_now)
        if told:
            # One clipping may have spanned all optimizers; several clippings were of one optimizer each.
            values["grad_norm"] = told[0] if len(told) == 1 else _root_of_squares(told)
        self.watched.gradient_norms.clear()
        self._told.clear()
        self._told_now = None
        return values

    def interpret(self, values: dict[str, float]) -> None:
        """Decide what the measured norm is to be called; a share of one is no norm yet."""
        if not self.watched.is_sharded:
            self.label(values)

    def label(self, values: dict[str, float]) -> None:
        """The same once the norm is whole."""
        measured = values.get("grad_norm_clipped")
        if measured is None:
            return
        told = values.get("grad_norm")
        if told is None:
            if not self._ceiling.saw(measured):
                values["grad_norm"] = values.pop("grad_norm_clipped")
        elif not (math.isfinite(told) and math.isfinite(measured)) or abs(told - measured) <= 1e-3 * told:
            # Not clipped in between, or not a number any more: one name is enough.
            del values["grad_norm_clipped"]

    def _measure(self, optimizer: Optimizer) -> None:
        ranks = self.watched.sharded_over
        if ranks is None:
            norm = total_norm(gradients_of(optimizer))
        else:
            norm = share_of_norm([one.grad for one in parameters_of(optimizer) if one.grad is not None], ranks)
        if norm is None:
            return
        scale = getattr(optimizer, "grad_scale", None)
        if isinstance(scale, Tensor):
            norm = norm / scale.detach().to(norm.device, non_blocking=True).reshape(())
        self.watched.gradient_norms[id(optimizer)] = norm


def _root_of_squares(norms: Iterable[Tensor | float]) -> Tensor | float:
    parts = list(norms)
    tensors = [part for part in parts if isinstance(part, Tensor)]
    if not tensors:
        return math.hypot(*(float(part) for part in parts))
    device = tensors[0].device
    moved = [torch.as_tensor(part, dtype=torch.float32, device=device).reshape(()) for part in parts]
    norm: Tensor = torch.linalg.vector_norm(torch.stack(moved))
    return norm
