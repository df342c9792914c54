"""Parameters that are spread over ranks (FSDP2): what of them is here, and how often it is somewhere else as well."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from client_hook.signals.tensors import real_values, together, total_norm


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


def share_of_norm(tensors: Iterable[Tensor], ranks: int) -> Tensor | None:
    """This rank's share of the global L2 norm: the squares of all ranks' shares add up to its square."""
    groups: dict[int, list[Tensor]] = {}
    for tensor in tensors:
        values = real_values(tensor)
        if values.numel():
            groups.setdefault(copies_of(tensor, ranks), []).append(values)
    norms = [(total_norm(values), copies) for copies, values in groups.items()]
    return together([norm / math.sqrt(copies) for norm, copies in norms if norm is not None])
