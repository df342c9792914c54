"""The name of what went bad first: the parameter, and where asked for the module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from client_hook.signals.base import Signal, Watched
from client_hook.signals.module_look import ModuleLook
from client_hook.signals.tensors import floating_tensors_in, real_values

MAX_OUTPUTS = 4_096
"""Module outputs remembered of one step, so that a loop that never observes does not fill the memory."""


class FirstNonFinite(Signal):
    """On the first non-finite value of a stretch, names the first bad parameter in the model's order.

    Gradients are looked at before parameters, because a parameter goes bad by its gradient. With
    ``trace_modules`` also the first module, in the order in which they finish, whose output was not finite: the
    innermost one, since a child finishes before its parent. Inside a ``torch.compile``d region no module is
    seen, and without gradients (an evaluation) none is looked at.

    Numbers cannot carry names. So what travels to the host is the place in a list, and `interpret` turns it into
    a remark in words and drops the number. On CUDA that is one step late, so the name is of the second bad step
    (of the first, where modules are traced).

    What a GradScaler skips is no remark: an overflow there is normal.
    """

    names: ClassVar[tuple[str, ...]] = ("first_nonfinite_parameter", "first_nonfinite_module")

    def __init__(self, watched: Watched) -> None:
        super().__init__(watched)
        self._is_bad_stretch = False
        self._labels: list[str] = []
        self._first: Tensor | None = None
        self._outputs: list[tuple[str, Tensor]] = []
        self._traced: list[str] = []
        self._handles: list[RemovableHandle] = []
        self.measures_updates_only = not watched.options.trace_modules
        if watched.options.trace_modules:
            for name, module in watched.model.named_modules():
                look = ModuleLook(watched.guarded(self._watcher_of(name or type(module).__name__)))
                self._handles.append(module.register_forward_hook(look))

    def before_update(self, optimizer: Optimizer) -> None:
        """Look where the gradients' norm calls for it, once in a stretch."""
        if not self._is_bad_stretch and self.watched.is_bad(self.watched.gradient_norms.get(id(optimizer))):
            self._look()

    def after_update(self, optimizer: Optimizer) -> None:
        """The same for parameters that were bad before their gradients, and for gradients made in a closure."""
        if self.watched.makes_gradients:
            self.before_update(optimizer)
        if not self._is_bad_stretch and self.watched.is_bad(self.watched.parameter_norms.get(id(optimizer))):
            self._look()

    def collect(self) -> dict[str, Tensor | float]:
        """Places in the lists of names."""
        values: dict[str, Tensor | float] = {}
        first, self._first = self._first, None
        if first is not None:
            values["first_nonfinite_parameter"] = first
        if self._outputs:
            self._traced = [name for name, _ in self._outputs]
            values["first_nonfinite_module"] = _first_bad([is_finite for _, is_finite in self._outputs])
            self._outputs = []
        return values

    def interpret(self, values: dict[str, float]) -> None:
        """From places to names, once in a stretch."""
        if "first_nonfinite_module" not in values and "first_nonfinite_parameter" not in values:
            self._is_bad_stretch = self._is_bad_stretch and self.watched.alarmed
            return
        module = values.pop("first_nonfinite_module", -1.0)
        parameter = values.pop("first_nonfinite_parameter", -1.0)
        is_scaled = self.watched.scaler is not None and self.watched.scaler.is_enabled()
        if is_scaled and values.get("update_skipped") == 1.0:
            return
        said = []
        if module >= 0 and not self._is_bad_stretch:
            said.append(f"the first module whose output was not finite is {self._traced[int(module)]}")
        if parameter >= 0:
            said.append(f"the first that is not finite is {self._labels[int(parameter)]}")
        if said:
            self.watched.remarks.append("; ".join(said))
            self._is_bad_stretch = True
        elif module < 0 and not self.watched.alarmed:
            self._is_bad_stretch = False

    def close(self) -> None:
        """Take the hooks off the modules."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _look(self) -> None:
        if self._first is not None:
            return
        named = list(self.watched.model.named_parameters())
        looked_at = [(f"the gradient of {name}", one.grad) for name, one in named if one.grad is not None]
        looked_at += [(f"the parameter {name}", one) for name, one in named]
        self._labels = [label for label, _ in looked_at]
        self._first = _first_bad([torch.isfinite(real_values(tensor)).all() for _, tensor in looked_at])

    def _watcher_of(self, name: str) -> Callable[[Any], None]:
        def watch(output: Any) -> None:
            if len(self._outputs) < MAX_OUTPUTS:
                self._outputs += [(name, torch.isfinite(tensor).all()) for tensor in floating_tensors_in(output)]

        return watch


def _first_bad(finite: list[Tensor]) -> Tensor:
    """The first place that is false, as a 0-dim tensor; -1 where all are true."""
    device = finite[0].device
    bad = ~torch.stack([one.to(device, non_blocking=True) for one in finite])
    return torch.where(bad.any(), bad.to(torch.uint8).argmax(), -1)
