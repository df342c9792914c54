"""The pre-update guard: a step with non-finite gradients is skipped before it can touch the weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim import LBFGS, Optimizer

from client_hook.recovery.optimizer_state import parameters_of
from client_hook.recovery.tensor_trees import here

Norm = Callable[[Optimizer], "Tensor | None"]
"""The norm of the gradients that an optimizer has now, as a 0-dim tensor; ``None`` where it has none."""


@dataclass
class UpdateGuard:
    """Asked in every optimizer step pre-hook, where gradients can still be taken away.

    Where the gradients are on the CPU, or with ``is_strict``, the norm is read on the host and every ``.grad`` of
    the optimizer is set to ``None``. Zeros would not do: momentum and weight decay move weights through them, and
    the step counts rise. Without gradients the whole update is passed over.

    On an accelerator nothing waits for the device. A fused optimizer is given the flag as ``found_inf``, as a
    GradScaler would, and skips by itself: weights, moments and step count stay. Any other kind gets its gradients
    masked with zeros on the device: no non-finite number reaches the weights, but momentum and weight decay still
    move them (0.67 × rate was measured for AdamW) and the step counts. ``is_strict`` buys the clean skip with one
    host read per step.

    An optimizer with a closure makes its gradients there, after this hook: `around_closure` looks at them.
    """

    is_enabled: bool
    """In mode ``act``, or where it was asked for; ``observe`` changes nothing."""
    is_strict: bool = False
    """Read the flag on the host also where the gradients are on an accelerator."""
    _flagged: set[int] = field(default_factory=set)
    _evaluations: dict[int, _Evaluations] = field(default_factory=dict)

    def before_update(self, optimizer: Optimizer, norm: Tensor | None) -> Tensor | bool:
        """Keep the coming update from the weights unless ``norm`` is finite; whether it is kept from them.

        A 0-dim flag where only the device knows.
        """
        self._forget(optimizer)
        if norm is None or isinstance(optimizer, LBFGS):
            return False  # LBFGS: what is there now is stale, the closure makes it anew
        if norm.device.type == "cpu" or self.is_strict:
            if math.isfinite(norm.item()):
                return False
            take_gradients_away(optimizer)
            return True
        return self.keep_on_device(optimizer, norm)

    def keep_on_device(self, optimizer: Optimizer, norm: Tensor) -> Tensor:
        """The same without a host read; returns the flag."""
        is_bad = ~torch.isfinite(norm)
        if _skips_by_itself(optimizer):
            if not isinstance(getattr(optimizer, "found_inf", None), Tensor):  # a scaler's own flag says it already
                optimizer.found_inf = is_bad.to(torch.float32)  # type: ignore[attr-defined]
                optimizer.grad_scale = None  # type: ignore[attr-defined]
                self._flagged.add(id(optimizer))
            return is_bad
        for parameter in parameters_of(optimizer):
            gradient = parameter.grad
            if gradient is None:
                continue
            values = here(gradient)
            if values.layout is torch.sparse_coo:
                values = values._values()
            values.masked_fill_(is_bad.to(values.device), 0.0)
        return is_bad

    def around_closure(
        self,
        optimizer: Optimizer,
        closure: Callable[[], Any],
        norm_of: Norm,
        *,
        leave_out: bool = False,
        ours: AbstractContextManager[Any] = nullcontext(),  # noqa: B008 it has no state
    ) -> Callable[[], Any]:
        """``closure``, whose gradients are looked at after each evaluation.

        A bad evaluation leaves no gradient, so that an optimizer of one evaluation makes no update. LBFGS may have
        moved already when a later evaluation turns out bad: its weights are put back after the step, and its
        history is forgotten. With ``leave_out`` every evaluation counts as bad. Our part runs inside ``ours``, theirs
        outside of it.
        """
        evaluations = _Evaluations()
        self._evaluations[id(optimizer)] = evaluations
        if isinstance(optimizer, LBFGS):
            evaluations.weights = [parameter.detach().clone() for parameter in parameters_of(optimizer)]

        def guarded() -> Any:
            loss = closure()
            with ours, torch.no_grad():
                norm = norm_of(optimizer)
                # By the gradients alone, which every rank judges alike; a loss is each rank's own.
                if leave_out or (norm is not None and not math.isfinite(norm.item())):
                    evaluations.is_bad = True
                    take_gradients_away(optimizer)
                    # A line search compares losses, and indexes out of its list where one is NaN.
                    return loss if evaluations.last_loss is None else evaluations.last_loss
                evaluations.last_loss = loss
            return loss

        return guarded

    def after_update(self, optimizer: Optimizer) -> bool:
        """In the step post-hook: take back what was lent; whether an update was kept away or put back."""
        evaluations = self._evaluations.get(id(optimizer))
        self._forget(optimizer)
        if evaluations is None or not evaluations.is_bad:
            return False
        if evaluations.weights:
            with torch.no_grad():
                for parameter, before in zip(parameters_of(optimizer), evaluations.weights):
                    parameter.copy_(before)
            optimizer.state.clear()
        return True

    def _forget(self, optimizer: Optimizer) -> None:
        self._evaluations.pop(id(optimizer), None)
        if id(optimizer) in self._flagged:
            # Also where the last step raised and its post-hook never ran.
            self._flagged.discard(id(optimizer))
            for name in ("found_inf", "grad_scale"):
                optimizer.__dict__.pop(name, None)


@dataclass
class _Evaluations:
    is_bad: bool = False
    weights: list[Tensor] = field(default_factory=list)
    last_loss: Any = None
    """Of the last good evaluation of this step."""


def take_gradients_away(optimizer: Optimizer) -> None:
    """Every ``.grad`` becomes ``None``: the update is passed over, moments, weight decay and all."""
    for parameter in parameters_of(optimizer):
        parameter.grad = None


def _skips_by_itself(optimizer: Optimizer) -> bool:
    """A fused optimizer of torch, whose kernels look at ``found_inf``; any other kind asserts that it is not set."""
    supports = bool(getattr(optimizer, "_step_supports_amp_scaling", False))
    return supports and all(group.get("fused") for group in optimizer.param_groups)
