"""How tensors are spread over ranks: what a rank has to know to put its shards where they belong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh

from client_hook.recovery.model_tensors import named_parameters, settle
from client_hook.recovery.optimizer_state import parameters_of
from client_hook.recovery.snapshot import TrainingState
from client_hook.recovery.tensor_trees import here


@dataclass(frozen=True)
class Layout:
    """Of one DTensor."""

    kind: Any
    """DTensor itself; ``torch.distributed.tensor`` is not imported where nobody shards."""
    mesh: Any
    placements: Any
    shape: torch.Size
    stride: tuple[int, ...]
    local_shape: torch.Size

    @classmethod
    def of(cls, tensor: Any) -> Layout | None:
        """``None`` for a tensor that is whole on this rank."""
        if not hasattr(tensor, "device_mesh"):
            return None
        mesh = tensor.device_mesh
        if mesh.device_type != "cpu":
            # Shards are written from copies on the CPU. No process group is made: only places are looked up.
            mesh = DeviceMesh("cpu", mesh.mesh, _init_backend=False)
        return cls(type(tensor.detach()), mesh, tensor.placements, tensor.shape, tensor.stride(), here(tensor).shape)

    def spread(self, shard: Tensor) -> Tensor:
        """``shard`` as what it is a part of."""
        whole: Tensor = self.kind.from_local(
            shard, self.mesh, self.placements, run_check=False, shape=self.shape, stride=self.stride
        )
        return whole

    def empty(self, dtype: torch.dtype) -> Tensor:
        """Room for this rank's shard."""
        return self.spread(torch.empty(self.local_shape, dtype=dtype))


def layouts_of(state: TrainingState) -> dict[str, Layout]:
    """Of every parameter that is spread: as ``model/<name>``, and as ``optimizers/<number>/<place>``."""
    settle(state.model)
    found = {f"model/{name}": Layout.of(parameter) for name, parameter in named_parameters(state.model)}
    for number, optimizer in enumerate(state.optimizers):
        for place, parameter in enumerate(parameters_of(optimizer)):
            found[f"optimizers/{number}/{place}"] = Layout.of(parameter)
    return {name: layout for name, layout in found.items() if layout is not None}
