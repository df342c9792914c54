"""A fixed sample of every parameter, gathered in one call: what the update ratio is estimated from."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.optim import Optimizer

from client_hook.signals.shards import copies_of
from client_hook.signals.tensors import HALF_TYPES, by_kind, local, parameters_of, together

SAMPLES_PER_TENSOR = 1024
SPARSER = 8
"""How much sparser a gradient is sampled: its memory is new on every step, and cold."""


@dataclass(frozen=True)
class Choice:
    """Which elements of one tensor are looked at: every ``stride``-th from ``offset`` on."""

    numel: int
    offset: int
    stride: int

    @cached_property
    def sparse_stride(self) -> int:
        """Between the elements of `ParameterSample.elements_of`."""
        return self.stride if self.stride == 1 else self.stride * SPARSER

    @cached_property
    def sparse_taken(self) -> int:
        """How many elements those are."""
        return len(range(self.offset, self.numel, self.sparse_stride))

    @classmethod
    def of(cls, numel: int, chance: random.Random) -> Choice:
        """All of a small tensor, about `SAMPLES_PER_TENSOR` of a larger one.

        A stride that shares no factor with the element count shares none with any dimension, so the sample
        walks through every row and column evenly; 576 in a 384-wide matrix would meet two columns only.

        >>> Choice.of(100, random.Random(0)).stride, Choice.of(589_824, random.Random(0)).stride
        (1, 575)
        """
        if numel <= 2 * SAMPLES_PER_TENSOR:
            return cls(numel, 0, 1)
        stride = numel // SAMPLES_PER_TENSOR
        while math.gcd(stride, numel) != 1:
            stride -= 1
        return cls(numel, chance.randrange(stride), stride)


class _Kind:
    """The samples of all tensors of one device and dtype: views in, two flat buffers out."""

    CHUNK = 32_000
    """Below the length at which an elementwise operation wakes the thread pool, for more than it saves."""

    def __init__(
        self,
        device: torch.device,
        dtype: torch.dtype,
        views: list[Tensor],
        weights: list[float],
        parameters: list[Tensor],
    ) -> None:
        self.views = views
        self.parameters = parameters
        self.sizes = sizes = [view.numel() for view in views]
        self.before = torch.empty(sum(sizes), dtype=dtype, device=device)
        self.after = torch.empty_like(self.before)
        self._wide = torch.float32 if dtype in HALF_TYPES else dtype
        # Filled on the device: a copy from pageable host memory would wait for it.
        self._weights = torch.empty(sum(sizes), dtype=self._wide, device=device)
        start = 0
        for size, weight in zip(sizes, weights):
            self._weights[start : start + size].fill_(math.sqrt(weight))
            start += size

    def gather(self, into: Tensor) -> None:
        """One call for all tensors; foreach has no gather, and a call per tensor cost twice as much."""
        torch.cat(self.views, out=into)

    def norms(self) -> tuple[Tensor, Tensor]:
        """Estimated L2 norms of the parameters and of the step's change to them."""
        parameters, update = [], []
        for start in range(0, len(self.after), self.CHUNK):
            part = slice(start, start + self.CHUNK)
            weights, after = self._weights[part], self.after[part].to(self._wide)
            parameters.append(torch.linalg.vector_norm(after * weights))
            update.append(torch.linalg.vector_norm((after - self.before[part]).mul_(weights)))
        whole, change = together(parameters), together(update)
        assert whole is not None
        assert change is not None
        return whole, change

    def norms_by_tensor(self) -> tuple[list[Tensor], list[Tensor]]:
        """The same for each tensor by itself; to be called between `swap` and the next `gather`."""
        after, before = self.before.to(self._wide), self.after.to(self._wide)
        parameters = torch._foreach_norm(torch.split(after * self._weights, self.sizes))
        update = torch._foreach_norm(torch.split((after - before).mul_(self._weights), self.sizes))
        return list(parameters), list(update)

    def swap(self) -> None:
        """What is after this step is before the next."""
        self.before, self.after = self.after, self.before


class ParameterSample:
    """One optimizer's parameters by their samples: before a step and after it.

    The elements are chosen when a tensor is first seen, from a generator of our own, and stay the same. The
    estimate weighs each sample by ``numel / samples``: within 3 % of the exact update ratio (tested) where the update
    moves most elements; one that is gathered in a few rows of a large table is met by few samples. Only
    samples are copied, about 8 KiB a tensor.

    The samples from after a step are those from before the next one as long as no tensor's version counter
    moved, which halves the work. An edit through ``.data`` between two steps does not move the counter and is
    then counted with the next update.
    """

    def __init__(self, optimizer: Optimizer, seed: int, *, sharded_over: int | None = None) -> None:
        self._optimizer = optimizer
        self._ranks = sharded_over
        self._chance = random.Random(seed)
        self._choices: dict[int, Choice] = {}
        self._parameters: list[Tensor] = []
        self._shape_key: list[object] = []
        self._pointers: list[int] = []
        self._versions: list[int] = []
        self._kinds: list[_Kind] = []
        self._is_before_known = False

    def before(self) -> None:
        """Copy the samples, unless those from after the last step are still true."""
        self._look()
        if not self._is_before_known or self._versions != [p._version for p in self._parameters]:
            for kind in self._kinds:
                kind.gather(kind.before)
            self._is_before_known = True

    def after(self) -> tuple[Tensor, Tensor] | None:
        """Norms of the parameters and of their change since `before`, as 0-dim tensors.

        ``None`` where there is nothing to compare: no parameters, or other ones than before the step.
        """
        self._look()
        if not self._kinds or not self._is_before_known:
            return None
        parameter_norms, update_norms = [], []
        for kind in self._kinds:
            kind.gather(kind.after)
            parameter_norm, update_norm = kind.norms()
            parameter_norms.append(parameter_norm)
            update_norms.append(update_norm)
            kind.swap()
        self._versions = [p._version for p in self._parameters]
        parameters, update = together(parameter_norms), together(update_norms)
        assert parameters is not None
        assert update is not None
        return parameters, update

    def norms_by_parameter(self) -> dict[int, tuple[Tensor, Tensor]]:
        """By ``id(parameter)``: what the last `after` measured, for each tensor by itself."""
        norms: dict[int, tuple[Tensor, Tensor]] = {}
        for kind in self._kinds:
            for parameter, *pair in zip(kind.parameters, *kind.norms_by_tensor()):
                norms[id(parameter)] = (pair[0], pair[1])
        return norms

    def elements_of(self, parameter: Tensor, tensor: Tensor) -> Tensor | None:
        """A few elements of what has a parameter's shape: its gradient, or a moment of the optimizer.

        Of a large tensor every `SPARSER`-th of those that are sampled. ``None`` where the parameter is not
        sampled or the tensor lies otherwise in memory.
        """
        choice = self._choices.get(id(parameter))
        if choice is None or tensor.layout is not torch.strided or tensor.stride() != parameter.stride():
            return None
        if type(tensor) is Tensor and tensor.is_contiguous() and tensor.numel() == choice.numel:
            # One call instead of four: this is done for every parameter on every step.
            place = tensor.storage_offset() + choice.offset
            return tensor.as_strided((choice.sparse_taken,), (choice.sparse_stride,), place)
        flat, _ = _flat(tensor)
        return flat[choice.offset :: choice.sparse_stride] if flat.numel() == choice.numel else None

    def weight_of(self, parameter: Tensor) -> float:
        """How many elements each of `elements_of` stands for."""
        choice = self._choices[id(parameter)]
        return choice.numel / choice.sparse_taken

    def elements_in(self, parameter: Tensor) -> int:
        """Real elements of it that are on this rank."""
        return self._choices[id(parameter)].numel

    def forget(self) -> None:
        """The parameters were put back: the next `before` copies anew."""
        self._is_before_known = False

    def _look(self) -> None:
        """Follow parameters that were added, moved to new memory, cast or sent to another device."""
        parameters = [p for p in parameters_of(self._optimizer) if p.numel()]
        if self._ranks is not None:
            # Of a small tensor some ranks hold nothing at all.
            parameters = [p for p in parameters if local(p).numel()]
        pointers = [local(p).data_ptr() for p in parameters]
        if pointers == self._pointers:
            return
        self._pointers = pointers
        key: list[object] = [(id(p), p.numel(), p.dtype, p.device) for p in parameters]
        views, weights = self._views(parameters)
        groups = by_kind(views)
        if key == self._shape_key:
            # The optimizer gave its parameters new memory, as ``p.data = …`` does: same elements, new views.
            for kind, group in zip(self._kinds, groups.values()):
                kind.views = group
            return
        self._parameters, self._shape_key = parameters, key
        of_view = {id(view): pair for view, pair in zip(views, zip(weights, parameters))}
        self._kinds = [
            _Kind(
                device, dtype, group, [of_view[id(view)][0] for view in group], [of_view[id(view)][1] for view in group]
            )
            for (device, dtype), group in groups.items()
        ]
        self._is_before_known = False

    def _views(self, parameters: list[Tensor]) -> tuple[list[Tensor], list[float]]:
        views, weights = [], []
        choices: dict[int, Choice] = {}
        for parameter in parameters:
            flat, numel = _flat(parameter)
            choice = self._choices.get(id(parameter))
            if choice is None or choice.numel != flat.numel():
                choice = Choice.of(flat.numel(), self._chance)
            choices[id(parameter)] = choice
            view = flat[choice.offset :: choice.stride]
            views.append(view)
            copies = 1 if self._ranks is None else copies_of(parameter, self._ranks)
            weights.append(numel / view.numel() / copies)
        self._choices = choices
        return views, weights


def _flat(parameter: Tensor) -> tuple[Tensor, int]:
    """A one-dimensional view (never a copy, which would not see updates) and the real element count."""
    tensor = local(parameter.detach())
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    numel = tensor.numel()
    if tensor.is_contiguous():
        return tensor.view(-1), numel
    while True:
        ordered = tensor.permute(sorted(range(tensor.dim()), key=tensor.stride, reverse=True))
        if ordered.is_contiguous():
            return ordered.view(-1), numel
        if tensor.dim() == 1:
            return tensor, numel
        # A parameter that is itself a slice of a larger tensor: its first row stands for it.
        tensor = tensor.select(0, 0)
