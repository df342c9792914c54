"""Pass over a window of data: the trouble may lie in the batches that come."""

from __future__ import annotations

from client_hook.recovery.actions.base import Action, Applied
from client_hook.recovery.training import Training
from trainguard.wire import SkipDataWindow


class SkipDataWindowAction(Action[SkipDataWindow]):
    """Skips in ``hook.batches``, and moves ``data_step`` for loops that pick their data by that number."""

    name = "skip_data_window"

    def check(self, order: SkipDataWindow, training: Training) -> str | None:
        """Never refused: a loop with its own iterator goes on in its data anyway, and the answer says so."""
        return None

    def apply(self, order: SkipDataWindow, training: Training) -> Applied:
        """Takes effect at the loop's next batch."""
        training.position.data_step += order.batches
        if not training.data.is_used:
            return Applied(
                "the data goes on where it was (nothing is passed over, since the loop does not use hook.batches)",
                {"batches_skipped": 0, "data_step": training.position.data_step},
            )
        training.data.skip(order.batches)
        return Applied(
            f"the next {order.batches} batches are passed over",
            {"batches_skipped": order.batches, "data_step": training.position.data_step},
        )
