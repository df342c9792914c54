"""Skip one batch: a single bad one is passed over without losing a window of data."""

from __future__ import annotations

from client_hook.recovery.actions.base import Action, Applied
from client_hook.recovery.training import Training
from trainguard.wire import SkipBatch


class SkipBatchAction(Action[SkipBatch]):
    """Needs ``hook.batches``: what a loop fetches by itself has been fetched already, or is out of our reach."""

    name = "skip_batch"

    def check(self, order: SkipBatch, training: Training) -> str | None:
        """Refuses where the loop takes its data another way; `skip_data_window` moves ``data_step`` there."""
        if not training.data.is_used:
            return "the loop does not take its batches from hook.batches(loader), so none can be passed over"
        return None

    def apply(self, order: SkipBatch, training: Training) -> Applied:
        """Takes effect at the loop's next batch."""
        training.position.data_step += 1
        training.data.skip(1)
        return Applied(
            "the next batch is passed over",
            {"batches_skipped": training.data.to_skip, "data_step": training.position.data_step},
        )
