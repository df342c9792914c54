"""Scale the learning rate, upwards too: the way back after a cause that has passed, and a person's own hand."""

from __future__ import annotations

from client_hook.recovery.actions.base import Action, Applied
from client_hook.recovery.training import Training
from trainguard.wire import ScaleLearningRate


class ScaleLearningRateAction(Action[ScaleLearningRate]):
    """Multiply the multiplier; the schedule itself is left alone."""

    name = "scale_learning_rate"

    def check(self, order: ScaleLearningRate, training: Training) -> str | None:
        """Refuses a multiplier that only a mistake could have meant."""
        scale = training.rate.scale * order.factor
        if not 1e-12 < scale <= 1e3:
            return f"the multiplier would become {scale:.3g}; give a factor that leaves it between 1e-12 and 1000"
        return None

    def apply(self, order: ScaleLearningRate, training: Training) -> Applied:
        """Takes effect from the next optimizer step on."""
        before, scale = training.rate.scale, training.rate.scale * order.factor
        # Halvings taken back one by one must end at the schedule itself, not at 0.9999999999999999 of it.
        training.rate.scale = 1.0 if abs(scale - 1.0) < 1e-6 else scale
        return Applied(
            f"the learning rate is multiplied by {training.rate.scale:.4g} from now on",
            {"lr_scale_before": before, "lr_scale": training.rate.scale},
        )
