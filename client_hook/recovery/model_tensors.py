"""A model's parameters, buffers and extra state: read as copies, compared, put back in place.

``state_dict`` is not enough: it leaves out non-persistent buffers, and its names change when a model is
compiled or wrapped between one start and the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.parameter import is_lazy

from client_hook.recovery.tensor_trees import clone_tensor, clone_tree, here

ModelTensors = dict[str, dict[str, Any]]
"""``parameters``, ``buffers``, ``temporary_buffers`` (non-persistent) and ``extra``, each by name."""


def bare_model(model: nn.Module) -> nn.Module:
    """The module inside ``torch.compile``'s and data parallel wrappers."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if isinstance(model, (DataParallel, DistributedDataParallel)):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def settle(model: nn.Module) -> None:
    """Let go of what ``fully_shard`` has gathered: an evaluation may have left whole parameters in the shards' place.

    Gathers nothing, and does nothing to a model that is not sharded.
    """
    for module in bare_model(model).modules():
        reshard: Any = getattr(module, "reshard", None)
        if reshard is not None and hasattr(module, "set_requires_gradient_sync"):
            reshard()


def named_parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Every parameter once (tied weights too), by a name that compiling does not change."""
    for name, parameter in bare_model(model).named_parameters():
        yield name.replace("_orig_mod.", ""), parameter


def _named_buffers(model: nn.Module) -> Iterator[tuple[str, Tensor, nn.Module, str, bool]]:
    seen: set[int] = set()
    for prefix, module in bare_model(model).named_modules():
        prefix = prefix.replace("_orig_mod.", "").replace("_orig_mod", "")
        for key, buffer in module._buffers.items():
            if buffer is not None and id(buffer) not in seen:
                seen.add(id(buffer))
                is_temporary = key in module._non_persistent_buffers_set
                yield (f"{prefix}.{key}" if prefix else key), buffer, module, key, is_temporary


def named_buffers(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every buffer once, the non-persistent ones too."""
    for name, buffer, *_ in _named_buffers(model):
        yield name, buffer


def _modules_with_extra_state(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, module in bare_model(model).named_modules():
        if type(module).get_extra_state is not nn.Module.get_extra_state:
            yield name.replace("_orig_mod.", ""), module


def capture_model(model: nn.Module, device: torch.device | None) -> ModelTensors:
    """Copies on ``device`` (``None``: where each tensor is).

    Raises:
        ValueError: a lazy parameter has no values yet.
    """
    settle(model)
    captured: ModelTensors = {"parameters": {}, "buffers": {}, "temporary_buffers": {}, "extra": {}}
    for name, parameter in named_parameters(model):
        if is_lazy(parameter):
            raise ValueError(f"parameter '{name}' has no values yet; run one forward pass before attaching")
        captured["parameters"][name] = clone_tensor(parameter, device)
    for name, buffer, _, _, is_temporary in _named_buffers(model):
        captured["temporary_buffers" if is_temporary else "buffers"][name] = clone_tensor(buffer, device)
    for name, module in _modules_with_extra_state(model):
        captured["extra"][name] = clone_tree(module.get_extra_state(), device)
    return captured


def find_model_differences(model: nn.Module, stored: ModelTensors) -> list[str]:
    """Why ``stored`` does not fit ``model``, a sentence each; empty where it fits. Touches nothing."""
    settle(model)
    differences = _compare("parameter", dict(named_parameters(model)), stored["parameters"])
    persistent = {name: buffer for name, buffer, _, _, temporary in _named_buffers(model) if not temporary}
    differences += _compare("buffer", persistent, stored["buffers"])
    extra = {name for name, _ in _modules_with_extra_state(model)}
    differences += [f"module '{name}' has no extra state in it" for name in sorted(extra - stored["extra"].keys())]
    return differences


def _compare(kind: str, current: dict[str, Any], stored: dict[str, Any]) -> list[str]:
    differences = [f"{kind} '{name}' is missing from it" for name in current if name not in stored]
    differences += [f"it has a {kind} '{name}' that the model has not" for name in stored if name not in current]
    for name, tensor in current.items():
        kept = stored.get(name)
        if kept is None:
            continue
        tensor = here(tensor)
        if kept.shape != tensor.shape:
            differences.append(f"{kind} '{name}' has shape {list(kept.shape)} in it, {list(tensor.shape)} in the model")
        elif kept.dtype != tensor.dtype:
            differences.append(f"{kind} '{name}' is {kept.dtype} in it, {tensor.dtype} in the model")
    return differences


@torch.no_grad()
def restore_model(model: nn.Module, stored: ModelTensors) -> None:
    """Copy ``stored`` into the model's own tensors; ``stored`` is only read. Call it on what fits."""
    for name, parameter in named_parameters(model):
        here(parameter).copy_(stored["parameters"][name])
    for name, buffer, module, key, is_temporary in list(_named_buffers(model)):
        kept = stored["temporary_buffers" if is_temporary else "buffers"].get(name)
        if kept is not None and not _refill(buffer, kept):
            module._buffers[key] = kept.to(buffer.device, copy=True)
    for name, module in _modules_with_extra_state(model):
        module.set_extra_state(clone_tree(stored["extra"][name], None))


def _refill(buffer: Tensor, kept: Tensor) -> bool:
    # Caches (rotary tables, masks) grow and are made anew at will, so they may have another shape.
    buffer = here(buffer)
    if buffer.shape != kept.shape or buffer.dtype != kept.dtype:
        return False
    try:
        buffer.copy_(kept)
    except RuntimeError:
        return False  # expanded, or made in inference mode: such a tensor cannot be written
    return True
