"""The GradScaler's scale."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from client_hook.signals.base import Signal


class LossScale(Signal):
    """Read where a scaler is given and enabled. An overflow now and then is normal; a collapsing scale is not."""

    names: ClassVar[tuple[str, ...]] = ("loss_scale",)

    @property
    def is_idle(self) -> bool:
        """Without a scaler."""
        return self.watched.scaler is None

    def collect(self) -> dict[str, Tensor | float]:
        """The scale in force now; after ``scaler.update()`` that is the one of the next step."""
        scaler = self.watched.scaler
        if scaler is None or not scaler.is_enabled():
            return {}
        # get_scale() is an .item(): on CUDA it would wait for the device on every step.
        scale = getattr(scaler, "_scale", None)
        return {"loss_scale": scale.detach().reshape(()) if isinstance(scale, Tensor) else float(scaler.get_scale())}
