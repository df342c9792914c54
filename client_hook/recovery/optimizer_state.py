"""An optimizer's groups and state tensors: read as copies, compared, put back in place.

``Optimizer.load_state_dict`` replaces the group dictionaries, the ``param_groups`` list and the state tensors.
A loop that holds ``g = optimizer.param_groups[0]`` then sets the rate of a dead dictionary, and nobody notices.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from client_hook.recovery.tensor_trees import InPlace, clone_tree, here, spread_like

OptimizerTensors = dict[str, Any]
"""``class``, ``counts`` (parameters per group), ``options`` per group, ``state`` by parameter index, ``own``."""

_LIKE_THE_PARAMETER = frozenset(
    {"exp_avg", "exp_avg_sq", "max_exp_avg_sq", "momentum_buffer", "square_avg", "acc_delta", "exp_inf", "sum"}
)


def parameters_of(optimizer: Optimizer) -> list[Tensor]:
    """Every parameter in the order of the groups; its place here is its index."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def keeps_state_elsewhere(optimizer: Optimizer) -> bool:
    """Whether the optimizer's class writes and reads its state in a way of its own."""
    # Sharded, 8-bit and second-order optimizers from other libraries keep things outside `state`; where a
    # class has its own way to write and read itself, that way is used and the old objects are put back after.
    kind = type(optimizer)
    return kind.state_dict is not Optimizer.state_dict or kind.load_state_dict is not Optimizer.load_state_dict


def capture_optimizer(optimizer: Optimizer, device: torch.device | None) -> OptimizerTensors:
    """Copies on ``device`` (``None``: where each tensor is). Functions among the options are left out."""
    index_of = {id(parameter): index for index, parameter in enumerate(parameters_of(optimizer))}
    state: dict[Any, Any] = {}
    own: Any = None
    if keeps_state_elsewhere(optimizer):
        own = clone_tree(optimizer.state_dict(), device)
    else:
        for owner, values in optimizer.state.items():
            key = index_of.get(id(owner), owner) if isinstance(owner, Tensor) else owner
            if not isinstance(key, Tensor):
                state[key] = clone_tree(values, device)
    return {
        "class": type(optimizer).__name__,
        "counts": [len(group["params"]) for group in optimizer.param_groups],
        "options": [clone_tree(_options(group), device) for group in optimizer.param_groups],
        "state": state,
        "own": own,
    }


def _options(group: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if key != "params" and not callable(value)}


def find_optimizer_differences(optimizer: Optimizer, stored: OptimizerTensors) -> list[str]:
    """Why ``stored`` does not fit ``optimizer``, a sentence each; empty where it fits. Touches nothing."""
    if stored["class"] != type(optimizer).__name__:
        return [f"it was taken with {stored['class']}, the training uses {type(optimizer).__name__}"]
    counts = [len(group["params"]) for group in optimizer.param_groups]
    if len(counts) != len(stored["counts"]):
        return [f"it has {len(stored['counts'])} parameter groups, the optimizer has {len(counts)}"]
    differences = [
        f"group {index} has {kept} parameters in it, {count} in the optimizer"
        for index, (kept, count) in enumerate(zip(stored["counts"], counts))
        if kept != count
    ]
    if differences:
        return differences
    for index, options in enumerate(stored["options"]):
        rate = options.get("lr", 0.0)
        if isinstance(rate, (int, float, Tensor)) and not math.isfinite(float(rate)):
            differences.append(f"the learning rate of group {index} is {float(rate)} in it")
    parameters = parameters_of(optimizer)
    for key, values in stored["state"].items():
        if isinstance(key, int) and key >= len(parameters):
            differences.append(f"it has state of a parameter {key}, the optimizer has {len(parameters)}")
        elif isinstance(key, int) and isinstance(values, dict):
            differences += _shape_differences(key, parameters[key], values)
    return differences


def _shape_differences(index: int, parameter: Tensor, values: dict[str, Any]) -> list[str]:
    shape = here(parameter).shape
    return [
        f"'{name}' of parameter {index} has shape {list(value.shape)} in it, its parameter {list(shape)}"
        for name, value in values.items()
        if name in _LIKE_THE_PARAMETER and isinstance(value, Tensor) and value.shape != shape
    ]


@torch.no_grad()
def restore_optimizer(optimizer: Optimizer, stored: OptimizerTensors, *, options: bool = True) -> None:
    """Refill the optimizer's own groups and tensors from ``stored``, which is only read.

    State that did not exist at the capture is removed. With ``options=False`` rates, momenta and every other
    option stay as they are: for a scheduler that is not rewound, because schedulers compute the next rate
    from the one that stands in the group.
    """
    in_place = InPlace()
    if stored["own"] is not None:
        _restore_its_own_way(optimizer, stored["own"], in_place)
    else:
        _restore_state(optimizer, stored["state"], in_place)
    if options:
        restore_options(optimizer, stored, in_place)


@torch.no_grad()
def restore_options(optimizer: Optimizer, stored: OptimizerTensors, in_place: InPlace | None = None) -> None:
    """Refill the groups' rates, momenta and other options only, in place."""
    in_place = in_place or InPlace()
    for group, kept in zip(optimizer.param_groups, stored["options"]):
        for key in [key for key in _options(group) if key not in kept]:
            del group[key]
        for key, value in kept.items():
            group[key] = in_place.restore(group.get(key), value, _placed_like(group.get(key)))


def _restore_state(optimizer: Optimizer, stored: dict[Any, Any], in_place: InPlace) -> None:
    groups = [group for group in optimizer.param_groups for _ in group["params"]]
    parameters = parameters_of(optimizer)
    owners = {key: parameters[key] if isinstance(key, int) else key for key in stored}
    kept = {id(owner) for owner in owners.values() if isinstance(owner, Tensor)}
    for owner in list(optimizer.state):
        if (id(owner) not in kept) if isinstance(owner, Tensor) else (owner not in stored):
            del optimizer.state[owner]
    for key, values in stored.items():
        owner = owners[key]
        current = optimizer.state.get(owner)
        if not isinstance(values, dict) or not isinstance(owner, Tensor):
            optimizer.state[owner] = in_place.restore(current, values, _placed_like(current))
            continue
        if not isinstance(current, dict):
            optimizer.state[owner] = current = {}
        for name in [name for name in current if name not in values]:
            del current[name]
        for name, value in values.items():
            on_device = name != "step" or groups[key].get("capturable") or groups[key].get("fused")
            device = owner.device if on_device else torch.device("cpu")
            # A moment is spread over ranks as its parameter is; a count of steps is not.
            place = _placed_as(owner, device) if on_device and name != "step" else _placed_on(device)
            current[name] = in_place.restore(current.get(name), value, place)


def _restore_its_own_way(optimizer: Optimizer, own: Any, in_place: InPlace) -> None:
    groups, state = optimizer.param_groups, optimizer.state
    kept_groups, kept_options = list(groups), [_options(group) for group in groups]
    kept_state = {owner: values for owner, values in state.items() if isinstance(values, dict)}
    optimizer.load_state_dict(clone_tree(own, None))
    for owner, values in list(optimizer.state.items()):
        if owner in kept_state:
            optimizer.state[owner] = in_place.restore(kept_state[owner], values, lambda tensor: tensor)
    for group, options in zip(kept_groups, kept_options):
        for key, value in options.items():
            group[key] = value
    groups[:] = kept_groups
    optimizer.param_groups = groups


def _placed_on(device: torch.device) -> Callable[[Tensor], Tensor]:
    return lambda tensor: tensor.to(device, copy=True)


def _placed_as(owner: Tensor, device: torch.device) -> Callable[[Tensor], Tensor]:
    return lambda tensor: spread_like(tensor.to(device, copy=True), owner)


def _placed_like(current: Any) -> Callable[[Tensor], Tensor]:
    return _placed_on(current.device if isinstance(current, Tensor) else torch.device("cpu"))
