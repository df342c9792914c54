"""Save a checkpoint now."""

from __future__ import annotations

from client_hook.recovery.actions.base import Action, Applied
from client_hook.recovery.training import Training
from trainguard.wire import SaveNow


class SaveNowAction(Action[SaveNow]):
    """A checkpoint at this boundary; like any other it becomes confirmed only after a quiet stretch."""

    name = "save_now"

    def check(self, order: SaveNow, training: Training) -> str | None:
        """Refuses where no checkpoints are kept."""
        if training.keeper is None:
            return "this run keeps no checkpoints; attach with checkpoints='a folder/'"
        return None

    def apply(self, order: SaveNow, training: Training) -> Applied:
        """Written in the background; a state that is not finite is not written."""
        if training.keeper is None:
            raise RuntimeError("save_now was applied without its check")
        position = training.position
        report = training.keeper.save(attempt=position.attempt, next_step=position.next_step)
        if report is None:
            return Applied(f"nothing was saved: {training.keeper.why_not_saved}", {"saved": False})
        return Applied(
            f"a checkpoint of step {report.step} is being saved",
            {"saved": True, "checkpoint_id": str(report.checkpoint_id), "checkpoint_step": report.step},
        )
