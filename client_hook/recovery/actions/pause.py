"""Pause: the loop waits inside ``observe`` until somebody says go on, or the time is over."""

from __future__ import annotations

from client_hook.recovery.actions.base import Action, Applied
from client_hook.recovery.training import Training
from trainguard.wire import Pause


class PauseAction(Action[Pause]):
    """Only marks the pause; the hook waits at the boundary, answering commands and telling that it lives."""

    name = "pause"

    def check(self, order: Pause, training: Training) -> str | None:
        """Refuses where nobody could end it."""
        if not training.pause.can_be_ended:
            return "this run has no server, so nobody could tell it to go on"
        return None

    def apply(self, order: Pause, training: Training) -> Applied:
        """Begins at this boundary."""
        training.pause.begin(order.seconds)
        return Applied(f"the training waits for up to {order.seconds:g} s", {"paused_seconds": order.seconds})
