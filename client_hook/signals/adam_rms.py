"""How far the gradient runs ahead of Adam's second moment: a leading sign of a loss spike."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from client_hook.signals.base import Signal, Watched
from client_hook.signals.sampling import ParameterSample
from client_hook.signals.tensors import together


class AdamRms(Signal):
    """Root mean square of ``g² / max(v, ε²)``, where ``v`` is Adam's bias-corrected second moment with this g in it.

    About 1 as long as ``v`` knows the size of the gradients; well above, the second moment is out of date, the
    update too large, and a spike follows some steps later (Wortsman et al. 2023, "Stable and low-precision
    training", section 3.4, there per tensor). Estimated on an eighth of the elements that the update ratio samples;
    over all of them it costs 43 ms where sampling costs one.

    Measured for every optimizer whose state has ``exp_avg_sq`` in the shape of the parameter: Adam, AdamW and
    their kin. Only dense gradients take part. Weight decay as AdamW does it is none of the gradient; Adam's own
    adds to ``v`` what is not in ``g``, and the number is then a little low.
    """

    names: ClassVar[tuple[str, ...]] = ("adam_rms",)
    measures_updates_only = True
    concerned: ClassVar[frozenset[str] | None] = frozenset({"adam_rms"})

    def __init__(self, watched: Watched) -> None:
        super().__init__(watched)
        self._measured: dict[int, tuple[Tensor, float]] = {}
        self._remembered: dict[int, _Remembered] = {}

    def after_update(self, optimizer: Optimizer) -> None:
        """Now ``v`` holds this step's gradient, and a fused optimizer has unscaled it."""
        sample = self.watched.samples.get(id(optimizer))
        if sample is None:
            return
        norms, elements = [], 0
        for group in optimizer.param_groups:
            betas = group.get("betas")
            if not isinstance(betas, (tuple, list)) or len(betas) < 2:
                continue
            remembered = self._remembered.setdefault(id(optimizer), _Remembered())
            for part in _parts(optimizer, group["params"], sample, remembered).values():
                norms.append(part.norm(float(betas[1]), float(group.get("eps", 0.0)), remembered.weights))
                elements += part.elements
        norm = together(norms)
        if norm is not None:
            self._measured[id(optimizer)] = (norm, elements)

    def collect(self) -> dict[str, Tensor | float]:
        """Over all optimizers that were stepped."""
        if not self._measured:
            return {}
        measured, self._measured = list(self._measured.values()), {}
        norm = together([norm for norm, _ in measured])
        return {} if norm is None else {"adam_rms": norm / math.sqrt(sum(elements for _, elements in measured))}

    def interpret(self, values: dict[str, float]) -> None:
        """An update that was skipped has left ``v`` as it was, and says nothing."""
        if values.get("update_skipped") == 1.0:
            values.pop("adam_rms", None)


class _Part:
    """The sampled elements of one group's parameters on one device, of one dtype."""

    def __init__(self, step: object) -> None:
        self.step = step
        self.gradients: list[Tensor] = []
        self.moments: list[Tensor] = []
        self.weights: list[float] = []
        self.elements = 0

    def norm(self, beta: float, epsilon: float, weights_of: Callable[[_Part], Tensor]) -> Tensor:
        """The L2 norm of g / sqrt(v) over all elements, estimated from the sampled ones."""
        moments, step = torch.cat(self.moments).float(), self.step
        if isinstance(step, Tensor):
            # A fused optimizer counts on the device; a number there is not fetched, and one here is not sent.
            step = step.detach().to(moments.device, non_blocking=True) if step.is_cuda else float(step)
        if isinstance(step, (int, float, Tensor)):
            moments.div_(1 - beta**step)
        # Below float32's smallest square the floor itself would be 0, and 0 / 0 is no ratio.
        ratio = torch.cat(self.gradients).float().div_(moments.clamp_min_(max(epsilon**2, 1e-30)).sqrt_())
        norm: Tensor = torch.linalg.vector_norm(ratio.mul_(weights_of(self)))
        return norm


class _Remembered:
    """What stays the same from step to step: where the sampled moments lie, and what each sample weighs.

    Finding it anew cost two thirds of the whole signal.
    """

    MOST_WEIGHTS = 64

    def __init__(self) -> None:
        self._views: dict[int, tuple[Tensor, int, Tensor]] = {}
        self._weights: dict[object, Tensor] = {}

    def view(self, parameter: Tensor, moment: Tensor, sample: ParameterSample) -> Tensor | None:
        """The sampled elements of a moment; found anew where the optimizer has another tensor or memory for it."""
        known = self._views.get(id(parameter))
        if known is not None and known[0] is moment and known[1] == moment.data_ptr():
            return known[2]
        view = sample.elements_of(parameter, moment)
        if view is not None:
            self._views[id(parameter)] = (moment, moment.data_ptr(), view)
        return view

    def weights(self, part: _Part) -> Tensor:
        """For every sampled element the root of how many it stands for."""
        sizes, device = tuple(map(len, part.gradients)), part.gradients[0].device
        key = (device, sizes, tuple(part.weights))
        weights = self._weights.get(key)
        if weights is None:
            if len(self._weights) >= self.MOST_WEIGHTS:
                self._weights.clear()
            weights = self._weights[key] = torch.empty(sum(sizes), device=device)
            # Filled on the device: a copy from pageable host memory would wait for it.
            for stretch, weight in zip(torch.split(weights, list(sizes)), part.weights):
                stretch.fill_(weight)
        return weights


def _parts(
    optimizer: Optimizer, parameters: list[Tensor], sample: ParameterSample, remembered: _Remembered
) -> dict[tuple[torch.device, torch.dtype], _Part]:
    parts: dict[tuple[torch.device, torch.dtype], _Part] = {}
    for parameter in parameters:
        gradient, state = parameter.grad, optimizer.state.get(parameter) or {}
        moment = state.get("exp_avg_sq")
        if gradient is None or not isinstance(moment, Tensor) or moment.shape != parameter.shape:
            continue
        if moment.device != gradient.device or not (moment.is_floating_point() or moment.is_complex()):
            continue
        seen, known = sample.elements_of(parameter, gradient), remembered.view(parameter, moment, sample)
        if seen is None or known is None or not len(seen):
            continue
        part = parts.setdefault((gradient.device, gradient.dtype), _Part(state.get("step")))
        part.gradients.append(seen)
        part.moments.append(known)
        part.weights.append(math.sqrt(sample.weight_of(parameter)))
        part.elements += sample.elements_in(parameter)
    return parts
