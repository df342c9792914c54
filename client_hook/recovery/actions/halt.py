"""Halt: the honest end of a ladder. The loop sees ``TrainingHalted``; nothing is restored or thrown away."""

from __future__ import annotations

from client_hook.recovery.actions.base import Action, Applied
from client_hook.recovery.training import Training
from trainguard.wire import Halt


class HaltAction(Action[Halt]):
    """The boundary raises ``TrainingHalted`` once the acknowledgement is on its way."""

    name = "halt"

    def check(self, order: Halt, training: Training) -> str | None:
        """Nothing can go wrong."""
        return None

    def apply(self, order: Halt, training: Training) -> Applied:
        """Changes nothing in the training; checkpoints stay as they are."""
        return Applied(f"the training is halted at step {training.position.step}", {"halted": True})
