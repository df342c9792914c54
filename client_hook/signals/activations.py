"""How large the activations are: looked at where the user names modules."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from client_hook.signals.base import Signal, Watched
from client_hook.signals.layers import signal_safe
from client_hook.signals.module_look import ModuleLook
from client_hook.signals.tensors import floating_tensors_in

MAX_MODULES = 32


class Activations(Signal):
    """``activation_rms/<module>`` of each module whose name fits the pattern, and ``logit_max`` of the model.

    The RMS is over all elements of the module's first output tensor; ``logit_max`` is the largest magnitude in
    the model's own output (its ``logits``, where it has some), which grows long before a softmax breaks. Of
    several forward passes in a step the last one counts; passes without gradients (evaluations) do not. The
    first 32 modules that fit are measured. Inside a ``torch.compile``d region nothing is seen.
    """

    names: ClassVar[tuple[str, ...]] = ("logit_max", "activation_rms/")

    def __init__(self, watched: Watched) -> None:
        super().__init__(watched)
        self._measured: dict[str, Tensor | float] = {}
        self._handles: list[RemovableHandle] = []
        pattern = watched.options.activations
        if pattern is None:
            return
        for name in modules_that_fit(watched.model, pattern)[:MAX_MODULES]:
            look = ModuleLook(watched.guarded(self._rms_of(f"activation_rms/{signal_safe(name)}")))
            self._handles.append(watched.model.get_submodule(name).register_forward_hook(look))
        self._handles.append(watched.model.register_forward_hook(ModuleLook(watched.guarded(self._logits))))

    @property
    def is_idle(self) -> bool:
        """Where no pattern was given."""
        return not self._handles

    def collect(self) -> dict[str, Tensor | float]:
        """Of the last forward pass."""
        measured, self._measured = self._measured, {}
        return measured

    def close(self) -> None:
        """Take the hooks off the modules."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _rms_of(self, signal: str) -> Callable[[Any], None]:
        def measure(output: Any) -> None:
            for tensor in floating_tensors_in(output)[:1]:
                norm = torch.linalg.vector_norm(tensor, dtype=torch.float32)
                self._measured[signal] = norm / tensor.numel() ** 0.5

        return measure

    def _logits(self, output: Any) -> None:
        found = floating_tensors_in(_logits_in(output))
        # Of ``(loss, logits)`` not the loss.
        for tensor in [one for one in found if one.dim()][:1] or found[:1]:
            self._measured["logit_max"] = torch.linalg.vector_norm(tensor, float("inf"), dtype=torch.float32)


def _logits_in(output: Any) -> Any:
    named = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    return output if named is None else named


def modules_that_fit(model: nn.Module, pattern: str) -> list[str]:
    """Names of the modules that fit a shell pattern, in the model's order; the model itself has no name."""
    return [name for name, _ in model.named_modules() if name and fnmatch.fnmatchcase(name, pattern)]
