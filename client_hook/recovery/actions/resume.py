"""Resume: end a pause."""

from __future__ import annotations

from client_hook.recovery.actions.base import Action, Applied
from client_hook.recovery.training import Training
from trainguard.wire import Resume


class ResumeAction(Action[Resume]):
    """The loop goes on from the boundary at which it waits."""

    name = "resume"

    def check(self, order: Resume, training: Training) -> str | None:
        """Refuses where nothing waits."""
        return None if training.pause.is_on else "the training is not paused"

    def apply(self, order: Resume, training: Training) -> Applied:
        """Takes effect at once."""
        waited = training.pause.end()
        return Applied(f"the training goes on after {waited:.0f} s", {"waited_seconds": round(waited, 3)})
