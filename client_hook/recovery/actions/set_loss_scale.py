"""Raise or reset the loss scale of a GradScaler, which a collapse has left where gradients underflow."""

from __future__ import annotations

from typing import Any

from client_hook.recovery.actions.base import Action, Applied
from client_hook.recovery.training import Training
from trainguard.wire import SetLossScale


class SetLossScaleAction(Action[SetLossScale]):
    """Through the scaler's own ``load_state_dict``, which fills its tensor in place."""

    name = "set_loss_scale"

    def check(self, order: SetLossScale, training: Training) -> str | None:
        """Refuses where there is no scaler, or one that is switched off."""
        if training.state.scaler is None:
            return "this training has no scaler; attach with scaler=your GradScaler"
        if "scale" not in _state(training):
            return "the scaler has no scale, so it is switched off"
        return None

    def apply(self, order: SetLossScale, training: Training) -> Applied:
        """Takes effect with the next ``scaler.scale(loss)``; the count of good steps begins anew."""
        scaler = training.state.scaler
        if scaler is None:
            raise RuntimeError("set_loss_scale was applied without its check")
        state = _state(training)
        before = float(state["scale"])
        scale = order.scale if order.scale is not None else training.initial_loss_scale or before
        scaler.load_state_dict({**state, "scale": scale, "_growth_tracker": 0})
        now = float(_state(training)["scale"])
        return Applied(f"the loss scale is {now:g} from now on", {"loss_scale_before": before, "loss_scale": now})


def _state(training: Training) -> dict[str, Any]:
    return dict(training.state.scaler.state_dict()) if training.state.scaler is not None else {}
