"""Reset the optimizer's moments: what a poisoned gradient left in them outlives the poisoned weights."""

from __future__ import annotations

from client_hook.recovery.actions.base import Action, Applied
from client_hook.recovery.training import Training
from trainguard.wire import ResetMoments


class ResetMomentsAction(Action[ResetMoments]):
    """Empty every optimizer's state; it builds its moments and step counts anew at its next step."""

    name = "reset_moments"

    def check(self, order: ResetMoments, training: Training) -> str | None:
        """Nothing can go wrong."""
        return None

    def apply(self, order: ResetMoments, training: Training) -> Applied:
        """The state dictionary itself is kept, so that nobody's reference to it goes stale."""
        entries = 0
        for optimizer in training.state.optimizers:
            entries += len(optimizer.state)
            optimizer.state.clear()
        left = sum(len(optimizer.state) for optimizer in training.state.optimizers)
        return Applied("the optimizer's moments are reset", {"moments_reset": entries, "moments_left": left})
