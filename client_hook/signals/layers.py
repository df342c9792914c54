"""Every layer by itself, from time to time: which one it is that goes wrong."""

from __future__ import annotations

import math
import re
from typing import ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from client_hook.signals.base import Signal, Watched
from client_hook.signals.shards import copies_of
from client_hook.signals.tensors import parameters_of, real_values, together, total_norm

MAX_LAYERS = 48
"""Four signals each fit beside all others into the 256 that the wire allows in one observation."""

KINDS = ("grad_norm", "param_norm", "update_ratio", "zero_grads")


class Layers(Signal):
    """Gradient norm, parameter norm, update ratio and share of zero gradients of each layer.

    They travel as signals of the observation, named ``grad_norm/transformer.h.0.attn``. A layer is a parameter
    tensor as long as the model has at most 48 of them; with more, the parameters are put together by the first
    parts of their names, as many parts as leave at most 48 layers (`layer_names`).

    Looked at every ``layers_every`` observations, and besides at once when a norm is not finite, and at the
    step after `look_soon` (a detector has found something). The update ratio is sampled like the global one.
    Norms are those that the optimizer sees: after clipping, and under a GradScaler unscaled unless the optimizer
    is a fused one, whose gradients then carry the scale.
    """

    names: ClassVar[tuple[str, ...]] = tuple(f"{kind}/" for kind in KINDS)
    measures_updates_only = True

    def __init__(self, watched: Watched) -> None:
        super().__init__(watched)
        self._every = watched.options.layers_every
        self._observed = 0
        self._is_wanted = False
        self._layer_of: dict[int, str] = {}
        self._known_parameters: list[int] = []
        self._is_looking: set[int] = set()
        self._squares: dict[str, list[Tensor]] = {}
        self._zeros: dict[str, tuple[list[Tensor], int]] = {}
        self._updates: dict[str, list[tuple[Tensor, Tensor]]] = {}

    @property
    def is_idle(self) -> bool:
        """Where it was switched off."""
        return self._every is None

    def look_soon(self) -> None:
        """Look at the next step, whatever the schedule says."""
        self._is_wanted = self._every is not None

    def before_update(self, optimizer: Optimizer) -> None:
        """The gradients, where a look is due."""
        self._is_looking.discard(id(optimizer))
        if not self.watched.makes_gradients:
            self._look_if_due(optimizer)

    def _look_if_due(self, optimizer: Optimizer) -> None:
        if self._every is None:
            return
        is_due = self._is_wanted or (self._observed + 1) % self._every == 0
        if is_due or self.watched.is_bad(self.watched.gradient_norms.get(id(optimizer))):
            self._is_looking.add(id(optimizer))
            self._look_at_gradients(optimizer)

    def after_update(self, optimizer: Optimizer) -> None:
        """What the update did to each; and the gradients, where they came into being during the step."""
        if self.watched.makes_gradients:
            self._look_if_due(optimizer)
        if id(optimizer) not in self._is_looking:
            return
        sample = self.watched.samples.get(id(optimizer))
        measured = {} if sample is None else sample.norms_by_parameter()
        for parameter in parameters_of(optimizer):
            layer, norms = self._layer_of.get(id(parameter)), measured.get(id(parameter))
            if layer is not None and norms is not None:
                self._updates.setdefault(layer, []).append(norms)

    def collect(self) -> dict[str, Tensor | float]:
        """Nothing on most steps."""
        self._observed += 1
        if not self._is_looking:
            return {}
        self._is_looking.clear()
        self._is_wanted = False
        values: dict[str, Tensor | float] = {}
        for layer, norms in self._squares.items():
            norm = together(norms)
            if norm is not None:
                values[f"grad_norm/{layer}"] = norm
        for layer, pairs in self._updates.items():
            whole, change = together([pair[0] for pair in pairs]), together([pair[1] for pair in pairs])
            if whole is not None and change is not None:
                values[f"param_norm/{layer}"] = whole
                values[f"update_ratio/{layer}"] = change / whole.clamp_min(torch.finfo(whole.dtype).tiny)
        for layer, (counts, numel) in self._zeros.items():
            values[f"zero_grads/{layer}"] = _sum(counts) / numel
        self._squares, self._zeros, self._updates = {}, {}, {}
        return values

    def _look_at_gradients(self, optimizer: Optimizer) -> None:
        self._name_layers()
        for parameter in parameters_of(optimizer):
            layer = self._layer_of.get(id(parameter))
            if layer is None or parameter.grad is None or not parameter.numel():
                continue
            gradient = real_values(parameter.grad)
            norm = total_norm([gradient]) if gradient.numel() else None
            if norm is None:
                continue
            ranks = self.watched.sharded_over
            if ranks is not None:
                norm = norm / math.sqrt(copies_of(parameter, ranks))
            self._squares.setdefault(layer, []).append(norm)
            counts, numel = self._zeros.get(layer, ([], 0))
            # Rows that a sparse gradient does not mention are no zeros: nobody asked for them.
            self._zeros[layer] = ([*counts, gradient.numel() - torch.count_nonzero(gradient)], numel + gradient.numel())

    def _name_layers(self) -> None:
        """Again where parameters were added or replaced; names are the model's."""
        parameters = dict(self.watched.model.named_parameters())
        known = list(map(id, parameters.values()))
        if known != self._known_parameters:
            self._known_parameters = known
            names = layer_names(list(parameters))
            self._layer_of = {id(parameters[name]): layer for name, layer in names.items()}


def layer_names(parameters: list[str], limit: int = MAX_LAYERS) -> dict[str, str]:
    """Which layer each parameter belongs to: at most ``limit`` layers, as fine as that allows.

    >>> names = [f"h.{block}.{part}" for block in range(3) for part in ("attn.weight", "attn.bias", "mlp.weight")]
    >>> sorted(set(layer_names(names, limit=8).values()))
    ['h.0.attn', 'h.0.mlp', 'h.1.attn', 'h.1.mlp', 'h.2.attn', 'h.2.mlp']
    >>> sorted(set(layer_names(names, limit=3).values()))
    ['h.0', 'h.1', 'h.2']
    """
    depth = max((name.count(".") + 1 for name in parameters), default=1)
    while depth > 1 and len({_first_parts(name, depth) for name in parameters}) > limit:
        depth -= 1
    layers = {name: _first_parts(name, depth) for name in parameters}
    named = list(dict.fromkeys(layers.values()))
    if len(named) <= limit:
        return layers
    kept = set(named[: limit - 1])
    return {name: layer if layer in kept else "others" for name, layer in layers.items()}


def signal_safe(name: str) -> str:
    """A module's name as part of a signal's: other characters become ``_``, the last 100 are kept."""
    return re.sub(r"[^A-Za-z0-9_.:/\-]", "_", name)[-100:]


def _first_parts(name: str, depth: int) -> str:
    return signal_safe(".".join(name.split(".")[:depth]))


def _sum(counts: list[Tensor]) -> Tensor:
    device = counts[0].device
    total: Tensor = torch.stack([count.to(device, torch.float32, non_blocking=True) for count in counts]).sum()
    return total
