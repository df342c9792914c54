"""Whether the step was made at all."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from client_hook.signals.base import Signal, Watched


class UpdateSkipped(Signal):
    """1 where the guard or the GradScaler skipped the optimizer step, 0 where a scaler is there and did not.

    A step that the scaler skips fires no optimizer hook at all; a fused optimizer is called all the same, with
    the flag in ``optimizer.found_inf``. Of several optimizers under one scaler, a skipped one is told apart
    from one that had no turn only if it is fused.
    """

    names: ClassVar[tuple[str, ...]] = ("update_skipped",)

    def __init__(self, watched: Watched) -> None:
        super().__init__(watched)
        # A scaler skips by not calling the optimizer at all; the guard only where it was called.
        self.measures_updates_only = watched.scaler is None
        self._was_updated = False
        self._flags: list[Tensor | bool] = []

    def mark(self, skipped: Tensor | bool = True) -> None:
        """The guard skipped this step, for certain or, as a 0-dim flag on the device, perhaps."""
        self._flags.append(skipped)

    def before_update(self, optimizer: Optimizer) -> None:
        """The optimizer was called, so a plain one was not skipped by the scaler."""
        self._was_updated = True
        found = getattr(optimizer, "found_inf", None)
        if isinstance(found, Tensor):
            self._flags.append(found.detach().clone())

    def collect(self) -> dict[str, Tensor | float]:
        """Nothing where there is neither scaler nor guard to skip a step."""
        scaler = self.watched.scaler
        has_scaler = scaler is not None and scaler.is_enabled()
        if not (has_scaler or self._flags):
            self._was_updated = False
            return {}
        flags, self._flags = self._flags, []
        if has_scaler and not self._was_updated:
            flags.append(True)
        self._was_updated = False
        if any(flag is True for flag in flags):
            return {"update_skipped": 1.0}
        on_device = [flag.reshape(()) for flag in flags if isinstance(flag, Tensor)]
        if on_device:
            moved = [flag.to(on_device[0].device, torch.float32) for flag in on_device]
            return {"update_skipped": (torch.stack(moved) > 0).any()}
        return {"update_skipped": 0.0} if has_scaler else {}
