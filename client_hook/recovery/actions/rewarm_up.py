"""Re-warm up: the rate climbs back linearly, so that fresh moments do not meet the full rate at once."""

from __future__ import annotations

from client_hook.recovery.actions.base import Action, Applied
from client_hook.recovery.training import Training
from trainguard.wire import RewarmUp


class RewarmUpAction(Action[RewarmUp]):
    """From near 0 to the scheduled rate times the multiplier."""

    name = "rewarm_up"

    def check(self, order: RewarmUp, training: Training) -> str | None:
        """Nothing can go wrong."""
        return None

    def apply(self, order: RewarmUp, training: Training) -> Applied:
        """Begins with the next optimizer step."""
        training.rate.rewarm(order.steps)
        return Applied(f"the rate warms up again over {order.steps} steps", {"rewarm_steps": order.steps})
