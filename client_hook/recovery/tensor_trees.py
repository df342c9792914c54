"""Nested dictionaries, lists and tuples with tensors in them: copying, walking, putting back in place."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor


def here(tensor: Tensor) -> Tensor:
    """What of ``tensor`` lies on this rank, without autograd: of a DTensor its shard, of any other all of it.

    Copies, comparisons and checks are of the shard: each rank keeps its own, and no collective is started.
    """
    detached = tensor.detach()
    to_local = getattr(detached, "to_local", None)
    return detached if to_local is None else to_local()


def spread_like(tensor: Tensor, model: Any) -> Tensor:
    """``tensor`` as this rank's shard of a DTensor that is spread as ``model`` is; as it is where ``model`` is none."""
    if not hasattr(model, "device_mesh") or tensor.shape != here(model).shape:
        return tensor
    return type(model).from_local(  # type: ignore[no-any-return]
        tensor, model.device_mesh, model.placements, run_check=False, shape=model.shape, stride=model.stride()
    )


def clone_tensor(tensor: Tensor, device: torch.device | None) -> Tensor:
    """A copy of ``tensor``, or of the shard of it that is here, that shares nothing; on ``device``, or where it is."""
    detached = here(tensor)
    return detached.clone() if device is None else detached.to(device, copy=True)


def clone_tree(value: Any, device: torch.device | None) -> Any:
    """A deep copy with every tensor copied to ``device`` (``None``: where it is).

    Raises:
        Exception: whatever ``copy.deepcopy`` raises for an object that cannot be copied.
    """
    if isinstance(value, Tensor):
        return clone_tensor(value, device)
    if type(value) is dict:
        return {key: clone_tree(item, device) for key, item in value.items()}
    if isinstance(value, dict):
        # A subclass keeps its class and attributes: OrderedDict with the `_metadata` of a module's state.
        twin = copy.copy(value)
        for key, item in value.items():
            twin[key] = clone_tree(item, device)
        return twin
    if type(value) in (list, tuple):
        return type(value)(clone_tree(item, device) for item in value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(clone_tree(item, device) for item in value))
    return copy.deepcopy(value)


def walk_tensors(value: Any, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor with its path, such as ``0.exp_avg``."""
    if isinstance(value, Tensor):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from walk_tensors(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from walk_tensors(item, f"{path}.{index}" if path else str(index))


def move_tensors(value: Any, place: Callable[[str, Tensor], Tensor], path: str = "") -> Any:
    """The same tree with every tensor replaced by ``place(path, tensor)``; containers are made anew."""
    if isinstance(value, Tensor):
        return place(path, value)
    if isinstance(value, dict):
        twin = {} if type(value) is dict else copy.copy(value)
        for key, item in value.items():
            twin[key] = move_tensors(item, place, f"{path}.{key}" if path else str(key))
        return twin
    if type(value) in (list, tuple):
        return type(value)(
            move_tensors(item, place, f"{path}.{index}" if path else str(index)) for index, item in enumerate(value)
        )
    return copy.deepcopy(value)


def size_in_bytes(value: Any) -> int:
    """Bytes of all tensors; what is not a tensor is too small to count."""
    return sum(tensor.numel() * tensor.element_size() for _, tensor in walk_tensors(value))


def is_tensor_finite(tensor: Tensor) -> bool:
    """Whether no element is NaN or infinite. Reads the device where the tensor is on one.

    >>> is_tensor_finite(torch.tensor([3e38, 3e38])), is_tensor_finite(torch.tensor([1.0, float("nan")]))
    (True, False)
    """
    if not (tensor.is_floating_point() or tensor.is_complex()) or tensor.numel() == 0 or tensor.is_meta:
        return True
    values = here(tensor)
    if values.numel() == 0:
        return True
    if values.layout is torch.sparse_coo:
        values = values.coalesce().values()
    elif values.layout is not torch.strided:
        values = values.values()
    if values.is_floating_point() and values.element_size() < 4:
        total = (values.float() if values.element_size() == 1 else values).sum(dtype=torch.float32)
    else:
        total = values.sum()
    # NaN and infinity always reach the sum, and it is one pass without a mask in memory. A sum that
    # overflowed by itself (finite, but huge) is judged again, element by element.
    if bool(torch.isfinite(total)):
        return True
    return bool(torch.isfinite(values.float() if values.element_size() == 1 else values).all())


class InPlace:
    """Puts stored values into the objects that are there, so that nobody's reference goes stale."""

    def __init__(self) -> None:
        self._written: set[int] = set()

    def restore(self, current: Any, stored: Any, place: Callable[[Tensor], Tensor]) -> Any:
        """Return what is to stand where ``current`` stands: ``current`` itself, refilled, wherever that fits.

        ``place`` makes a tensor of its own from a stored one, on the right device. ``stored`` is only read.
        """
        if isinstance(stored, Tensor):
            return self._restore_tensor(current, stored, place)
        if isinstance(stored, dict) and isinstance(current, dict):
            for key in [key for key in current if key not in stored]:
                del current[key]
            for key, item in stored.items():
                current[key] = self.restore(current.get(key), item, place)
            return current
        if isinstance(stored, list) and isinstance(current, list):
            before = list(current) + [None] * len(stored)
            current[:] = [self.restore(old, item, place) for old, item in zip(before, stored)]
            return current
        if isinstance(stored, (dict, list, tuple)):
            return move_tensors(stored, lambda _, tensor: place(tensor))
        if isinstance(current, Tensor) and current.numel() == 1 and isinstance(stored, (int, float)):
            current.fill_(stored)
            return current
        return copy.deepcopy(stored)

    def _restore_tensor(self, current: Any, stored: Tensor, place: Callable[[Tensor], Tensor]) -> Tensor:
        target = current
        if isinstance(current, Tensor):
            current = here(current)
        fits = (
            isinstance(current, Tensor)
            and current.shape == stored.shape
            and current.dtype == stored.dtype
            and current.layout == stored.layout
        )
        if not fits:
            return place(stored)
        # One tensor may stand in two places (a rate tensor shared by all groups). If the two had parted
        # since, writing the second value would overwrite the first.
        if id(target) in self._written and not torch.equal(current, stored.to(current.device)):
            return place(stored)
        self._written.add(id(target))
        current.copy_(stored)
        return target  # type: ignore[no-any-return]
