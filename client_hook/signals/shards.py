"""Parameters that are spread over ranks (FSDP2): what of them is here, and how often it is somewhere else as well."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn


def is_sharded(model: nn.Module) -> bool:
    """Whether a parameter of ``model`` is a DTensor, as ``fully_shard`` makes them."""
    return any(is_spread(parameter) for parameter in model.parameters())


def is_spread(tensor: Tensor) -> bool:
    """Whether ``tensor`` is a DTensor."""
    return hasattr(tensor, "device_mesh")


def copies_of(tensor: Any, ranks: int) -> int:
    """How many ranks hold the very elements that are here: every rank those of a plain tensor.

    Parameters that ``fully_shard`` was not given, or that a mesh replicates, are there several times; each rank
    counts its share of them, so that the sum over all ranks counts them once.
    """
    if not is_spread(tensor):
        return ranks
    copies = 1
    for dimension, placement in enumerate(tensor.placements):
        if not placement.is_shard():
            copies *= tensor.device_mesh.size(dimension)
    return copies


def by_copies(tensors: Iterable[Tensor], ranks: int) -> dict[int, list[Tensor]]:
    """Grouped by `copies_of`."""
    groups: dict[int, list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault(copies_of(tensor, ranks), []).append(tensor)
    return groups
