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
from client_hook.signals.tensors import gradients_in, parameters_of, together, total_norm


class GradientNorm(Signal):
    """What the step pre-hook sees, which is the norm *after* clipping, and what we were told from before it.

    Optimizer hooks run after clipping. So the norm measured there is called ``grad_norm`` only where nobody
    told us another and nothing looks clipped (`ClippingCeiling` says how sure that is). Where the norm before
    clipping is known, it is ``grad_norm``, and the measured one is ``grad_norm_clipped`` if it differs.

    Under a GradScaler a plain optimizer's gradients are already unscaled here (``scaler.step`` does it before
    ``optimizer.step``), a fused one's are not: it carries the scale as ``optimizer.grad_scale``, and the norm
    is divided by it (unscaled, 8 was measured as 8,192).

    An optimizer that makes its gradients in a closure (LBFGS, and any that is given one) has none in the pre-hook, or
    stale ones; it is measured after the step, on the gradients of its last evaluation.

    Where parts of the parameters are clipped by themselves, the norms of the parts and of the rest go together.
    """

    names: ClassVar[tuple[str, ...]] = ("grad_norm", "grad_norm_clipped")
    concerned: ClassVar[frozenset[str] | None] = frozenset({"grad_norm_clipped"})

    def __init__(self, watched: Watched) -> None:
        super().__init__(watched)
        self._ceiling = ClippingCeiling()
        self._told_now: list[tuple[frozenset[int] | None, Tensor | float]] = []
        self._told: dict[int, Tensor | float] = {}

    def told(self, norm: Tensor | float, of: frozenset[int] | None = None) -> None:
        """The norm before clipping, as the clipping itself computed it. It belongs to the next update.

        ``of`` are the ids of the parameters that were clipped, ``None`` for all that there are.
        """
        if of is None:
            self._told_now = [(None, norm)]
            return
        # What is clipped once more (with every micro-batch) counts as it was the last time.
        apart = [(other, told) for other, told in self._told_now if other is not None and not other & of]
        self._told_now = [*apart, (of, norm)]

    def before_update(self, optimizer: Optimizer) -> None:
        """Measure, unless the gradients come from a closure."""
        if self._told_now:
            self._take_told(optimizer)
        self.watched.gradient_norms.pop(id(optimizer), None)
        if not self.watched.makes_gradients:
            self._measure(optimizer)

    def after_update(self, optimizer: Optimizer) -> None:
        """Measure what only came into being during the step."""
        if id(optimizer) not in self.watched.gradient_norms:
            self._measure(optimizer)

    def collect(self) -> dict[str, Tensor | float]:
        """Over all optimizers: the measured norm, and the told one where there is one."""
        if not self.watched.gradient_norms and not self._told and not self._told_now:
            return {}
        values: dict[str, Tensor | float] = {}
        measured = together(list(self.watched.gradient_norms.values()))
        if measured is not None:
            values["grad_norm_clipped"] = measured
        told = list(self._told.values())
        # Clipped, and then no optimizer was stepped (a GradScaler skipped the update), or clipped in its closure.
        told += [norm for _, norm in self._told_now]
        if told:
            # One clipping may have spanned all optimizers; several clippings were of one optimizer each.
            values["grad_norm"] = told[0] if len(told) == 1 else _root_of_squares(told)
        self.watched.gradient_norms.clear()
        self._told.clear()
        self._told_now = []
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

    def _take_told(self, optimizer: Optimizer) -> None:
        """What was told of this optimizer's gradients, together with those of them that were not clipped."""
        if self._told_now[0][0] is None:
            norms = [self._told_now.pop()[1]]
        else:
            owned = {id(parameter): parameter for parameter in parameters_of(optimizer)}
            others, clipped, norms = [], set[int](), []
            for of, norm in self._told_now:
                if of is None or of.isdisjoint(owned):
                    others.append((of, norm))
                else:
                    clipped |= of
                    norms.append(norm)
            self._told_now = others
            rest = owned.keys() - clipped
            # Of a sharded model only a share of the rest is known here, and what was told is whole.
            if norms and rest and not self.watched.is_sharded:
                unclipped = self._norm(optimizer, [owned[one] for one in owned if one in rest])
                norms += [] if unclipped is None else [unclipped]
        if norms:
            self._told[id(optimizer)] = norms[0] if len(norms) == 1 else _root_of_squares(norms)

    def _measure(self, optimizer: Optimizer) -> None:
        norm = self._norm(optimizer, parameters_of(optimizer))
        if norm is not None:
            self.watched.gradient_norms[id(optimizer)] = norm

    def _norm(self, optimizer: Optimizer, parameters: list[Tensor]) -> Tensor | None:
        ranks = self.watched.sharded_over
        if ranks is None:
            norm = total_norm(gradients_in(parameters))
        else:
            norm = share_of_norm([one.grad for one in parameters if one.grad is not None], ranks)
        scale = getattr(optimizer, "grad_scale", None)
        if norm is None or not isinstance(scale, Tensor):
            return norm
        return norm / scale.detach().to(norm.device, non_blocking=True).reshape(())


def _root_of_squares(norms: Iterable[Tensor | float]) -> Tensor | float:
    parts = list(norms)
    tensors = [part for part in parts if isinstance(part, Tensor)]
    if not tensors:
        return math.hypot(*(float(part) for part in parts))
    device = tensors[0].device
    moved = [torch.as_tensor(part, dtype=torch.float32, device=device).reshape(()) for part in parts]
    norm: Tensor = torch.linalg.vector_norm(torch.stack(moved))
    return norm
