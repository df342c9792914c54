"""What the hook sees of a training's set-up, for the run's description and its doctor: plain JSON values."""

from __future__ import annotations

import logging
import math
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pydantic import JsonValue
from torch import Tensor, nn
from torch.optim import Optimizer

from trainguard.policy.diagnosis import advise
from trainguard.wire import RunDescription

_logger = logging.getLogger("trainguard")

GROUPS_DESCRIBED = 32
UNOWNED_NAMED = 8
"""Trainable parameters without an optimizer that are named; of a whole model without one, `attach` says no."""


def described(
    model: nn.Module, optimizers: Sequence[Optimizer], schedulers: Sequence[object], scaler: object | None
) -> dict[str, JsonValue]:
    """Model size, optimizers with their groups, schedules, precision and versions.

    >>> layer = nn.Linear(3, 2)
    >>> seen = described(layer, [torch.optim.SGD(layer.parameters(), lr=0.1)], [], None)
    >>> seen["parameters"], seen["optimizers"][0]["name"], seen["optimizers"][0]["groups"][0]["lr"]
    (8, 'SGD', 0.1)
    """
    parameters = list(model.parameters())
    owned = {id(one) for optimizer in optimizers for group in optimizer.param_groups for one in group["params"]}
    unowned: list[JsonValue] = [n for n, one in model.named_parameters() if one.requires_grad and id(one) not in owned]
    kinds = {str(parameter.dtype).removeprefix("torch.") for parameter in parameters}
    return {
        "model": type(model).__name__,
        # Several were given to `attach`: a GAN has two, and their losses mean something else.
        "models": len(model) if type(model) is nn.ModuleList else 1,
        "parameters": sum(parameter.numel() for parameter in parameters),
        "trainable_parameters": sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        "unowned_parameters": unowned[:UNOWNED_NAMED],
        "parameter_types": [*sorted(kinds)],
        "devices": [*sorted({str(parameter.device) for parameter in parameters})],
        "optimizers": [_optimizer(optimizer) for optimizer in optimizers],
        "schedulers": [type(scheduler).__name__ for scheduler in schedulers],
        "scaler": None if scaler is None else type(scaler).__name__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def tell_advice(description: RunDescription, *, known: RunDescription | None = None) -> None:
    """What ``trainguard doctor`` would say of the set-up, in the trainer's own log; not again what was ``known``."""
    said = () if known is None else advise(known)
    for advice in advise(description):
        if advice not in said:
            level = logging.WARNING if advice.weight == "warning" else logging.INFO
            _logger.log(level, "set-up, %s: %s %s", advice.setting, advice.statement, advice.remedy)


def _optimizer(optimizer: Optimizer) -> dict[str, JsonValue]:
    groups: list[JsonValue] = [_group(group) for group in optimizer.param_groups[:GROUPS_DESCRIBED]]
    return {"name": type(optimizer).__name__, "group_count": len(optimizer.param_groups), "groups": groups}


def _group(group: Mapping[str, Any]) -> dict[str, JsonValue]:
    options: dict[str, JsonValue] = {
        str(name): plain for name, value in group.items() if name != "params" and (plain := _plain(value)) is not None
    }
    options["tensors"] = len(group["params"])
    return options


def _plain(value: Any) -> JsonValue:
    if isinstance(value, Tensor):
        value = value.item() if value.numel() == 1 and not value.is_complex() else None
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value[:8]]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, (bool, int, float, str)) else None
