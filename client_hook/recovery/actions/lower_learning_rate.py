"""Lower the learning rate through the multiplier, which survives every schedule."""

from __future__ import annotations

from client_hook.recovery.actions.base import Action, Applied
from client_hook.recovery.training import Training
from trainguard.wire import LowerLearningRate


class LowerLearningRateAction(Action[LowerLearningRate]):
    """Multiply the multiplier; the schedule itself is left alone, and can be followed again by setting it to 1."""

    name = "lower_learning_rate"

    def check(self, order: LowerLearningRate, training: Training) -> str | None:
        """Refuses a factor that would leave no rate at all."""
        scale = training.rate.scale * order.factor
        if not 1e-12 < scale <= 1e12:
            return f"the multiplier would become {scale:.3g}, which trains nothing"
        return None

    def apply(self, order: LowerLearningRate, training: Training) -> Applied:
        """Takes effect from the next optimizer step on."""
        before = training.rate.scale
        training.rate.scale = before * order.factor
        return Applied(
            f"the learning rate is multiplied by {training.rate.scale:.4g} from now on",
            {"lr_scale_before": before, "lr_scale": training.rate.scale},
        )
