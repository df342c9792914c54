"""Did the restore happen? Read back from the objects themselves, never from what was meant to be done."""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from client_hook.recovery.model_tensors import named_buffers, named_parameters
from client_hook.recovery.optimizer_state import parameters_of
from client_hook.recovery.schedulers import times_advanced
from client_hook.recovery.snapshot import Snapshot, TrainingState
from client_hook.recovery.tensor_trees import here


def checksum(model: nn.Module) -> str:
    """SHA-256 over names, types, shapes and bytes of all parameters, as 64 hexadecimal digits.

    Tied weights count once; compiling or wrapping the model does not change it. Of a sharded model it is that of the
    shards of this rank.
    """
    return checksum_of_tensors(named_parameters(model))


def checksum_of_tensors(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """SHA-256 over the named tensors, in their order."""
    digest = hashlib.sha256()
    for name, tensor in tensors:
        digest.update(f"{name} {tensor.dtype} {list(here(tensor).shape)}\n".encode())
        plain = here(tensor).to("cpu").contiguous()
        length = plain.numel() * plain.element_size()
        if length:
            # numpy knows no bfloat16 and may not be there; the bytes are the same without it.
            digest.update((ctypes.c_char * length).from_address(plain.data_ptr()))
    return digest.hexdigest()


def verify(state: TrainingState, snapshot: Snapshot, *, scheduler: bool = True) -> dict[str, Any]:
    """Compare the training with the snapshot that was restored into it.

    ``scheduler`` is what `TrainingState.restore` was told. Returns plain JSON values: ``checksum`` (of the
    model's parameters, read back), ``checksum_matches``, ``learning_rates``, ``optimizer_steps`` and
    ``scheduler_steps`` as they now are, and ``differences``: a sentence for each thing that was not restored,
    empty when all is well.
    """
    differences: list[str] = []
    found = checksum(state.model)
    matches = found == checksum_of_tensors(snapshot.model["parameters"].items())
    if not matches:
        differences.append("the parameters are not those of the checkpoint")
    for name, buffer in named_buffers(state.model):
        stored = snapshot.model["buffers"].get(name)
        if stored is not None and not _is_same(buffer, stored):
            differences.append(f"buffer '{name}' is not that of the checkpoint")
    rates = [[_number(group.get("lr")) for group in optimizer.param_groups] for optimizer in state.optimizers]
    kept_rates = [[_number(group.get("lr")) for group in stored["options"]] for stored in snapshot.optimizers]
    if scheduler and rates != kept_rates:
        differences.append(f"the learning rates are {rates}, in the checkpoint {kept_rates}")
    steps = [_steps_in(optimizer.state.values()) for optimizer in state.optimizers]
    for index, (now, stored) in enumerate(zip(steps, snapshot.optimizers)):
        then = _steps_in(stored["state"].values())
        if stored["own"] is None and now != then:
            differences.append(f"optimizers[{index}] has made {now} steps, in the checkpoint {then}")
    advanced = [times_advanced(each) for each in state.schedulers]
    kept_advanced = [stored["advanced"] for stored in snapshot.schedulers]
    if scheduler and advanced != kept_advanced:
        differences.append(f"the schedulers stand at {advanced}, in the checkpoint at {kept_advanced}")
    if any(p.grad is not None for optimizer in state.optimizers for p in parameters_of(optimizer)):
        differences.append("gradients are left over")
    return {
        "checksum": found,
        "checksum_matches": matches,
        "learning_rates": rates,
        "optimizer_steps": steps,
        "scheduler_steps": advanced,
        "differences": differences,
    }


def _is_same(current: Tensor, stored: Tensor) -> bool:
    return checksum_of_tensors([("", current)]) == checksum_of_tensors([("", stored)])


def _number(rate: Any) -> float | None:
    return float(rate) if isinstance(rate, (int, float, Tensor)) else None


def _steps_in(states: Iterable[Any]) -> int | None:
    steps = [values["step"] for values in states if isinstance(values, dict) and "step" in values]
    return max(int(step.item() if isinstance(step, torch.Tensor) else step) for step in steps) if steps else None
