"""Loosen clipping: the way back from a limit that was set for a cause that has passed, and a person's own hand."""

from __future__ import annotations

from client_hook.recovery.actions.base import Action, Applied
from client_hook.recovery.training import Training
from trainguard.wire import LoosenClipping


class LoosenClippingAction(Action[LoosenClipping]):
    """Raises the hook's own limit or lifts it; the loop's own clipping is left alone."""

    name = "loosen_clipping"

    def check(self, order: LoosenClipping, training: Training) -> str | None:
        """Refuses a limit that is tighter than the present one: that is another order."""
        limit = training.clipping.max_norm
        if order.max_norm is not None and limit is not None and order.max_norm < limit:
            return (
                f"gradient norms are held at {limit:.4g}, and {order.max_norm:.4g} is tighter; tighten clipping instead"
            )
        return None

    def apply(self, order: LoosenClipping, training: Training) -> Applied:
        """Takes effect from the next optimizer step on. Where there is no limit there will be none."""
        before = training.clipping.max_norm
        after = None if before is None else order.max_norm
        training.clipping.max_norm = after
        words = (
            "gradient norms are not held any more"
            if after is None
            else f"gradient norms are held at or below {after:.4g}"
        )
        return Applied(f"{words} from now on", {"clip_norm_before": before, "clip_norm": after})
