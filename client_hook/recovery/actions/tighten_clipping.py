"""Tighten clipping: no gradient norm above a limit reaches the weights, however the loop clips."""

from __future__ import annotations

from torch.optim import LBFGS

from client_hook.recovery.actions.base import Action, Applied
from client_hook.recovery.training import Training
from trainguard.wire import TightenClipping


class TightenClippingAction(Action[TightenClipping]):
    """Sets the hook's own limit, which lies over the loop's: the smaller of the two holds."""

    name = "tighten_clipping"

    def check(self, order: TightenClipping, training: Training) -> str | None:
        """Nothing can go wrong: a part of many remedies, it must not fail them for an optimizer of its own kind."""
        return None

    def apply(self, order: TightenClipping, training: Training) -> Applied:
        """Takes effect from the next optimizer step on, and outlives rollbacks and restarts as the multiplier does."""
        before = training.clipping.max_norm
        if all(isinstance(optimizer, LBFGS) for optimizer in training.state.optimizers):
            return Applied(
                "gradient norms are not held, since LBFGS makes its gradients in its closure",
                {"clip_norm_before": before, "clip_norm": before},
            )
        # A limit that an earlier remedy set for a reason of its own is never loosened by a later one.
        training.clipping.max_norm = training.clipping.tighter_of(order.max_norm)
        return Applied(
            f"gradient norms are held at or below {training.clipping.max_norm:.4g} from now on",
            {"clip_norm_before": before, "clip_norm": training.clipping.max_norm},
        )
