"""Skip updates: the weights stay as they are for a few steps, while the losses go on being measured."""

from __future__ import annotations

from torch.optim import LBFGS

from client_hook.recovery.actions.base import Action, Applied
from client_hook.recovery.training import Training
from trainguard.wire import SkipUpdate


class SkipUpdateAction(Action[SkipUpdate]):
    """Takes the gradients away before each of the coming updates, so that no moment and no count moves either."""

    name = "skip_update"

    def check(self, order: SkipUpdate, training: Training) -> str | None:
        """Refuses where the gradients are made inside the update itself."""
        if any(isinstance(optimizer, LBFGS) for optimizer in training.state.optimizers):
            return "LBFGS makes its gradients in its closure, so its updates cannot be skipped from outside"
        return None

    def apply(self, order: SkipUpdate, training: Training) -> Applied:
        """Begins with the next optimizer step; counted in observations."""
        training.updates.skip(order.updates)
        return Applied(
            f"the updates of the next {training.updates.to_skip} steps are skipped",
            {"updates_skipped": training.updates.to_skip},
        )
