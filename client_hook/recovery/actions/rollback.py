"""Rollback: the model, optimizer, scheduler, scaler and RNG go back to a checkpoint that is known to be good.

What is to be restored is loaded and validated whole before anything is touched. Afterwards step, rate and
parameter checksum are read back from the objects themselves: a restore that silently forgets the scheduler is
a failed rollback.
"""

from __future__ import annotations

from client_hook.recovery.actions.base import Action, Applied
from client_hook.recovery.errors import CheckpointInvalid
from client_hook.recovery.snapshot import Snapshot
from client_hook.recovery.training import Training
from client_hook.recovery.verification import verify
from trainguard.wire import CheckpointReport, Rollback


class RollbackFailed(RuntimeError):
    """The restored objects do not read back as they should; the training must not go on."""


class RollbackAction(Action[Rollback]):
    """Restore in place, begin a new attempt, and prove it."""

    name = "rollback"

    def __init__(self) -> None:
        self._snapshot: Snapshot | None = None
        self._report: CheckpointReport | None = None

    def check(self, order: Rollback, training: Training) -> str | None:
        """Refuses a checkpoint that is unknown, not confirmed, unreadable, or does not fit the model."""
        if training.keeper is None:
            return "this run keeps no checkpoints, so there is nothing to roll back to"
        report = training.keeper.report(order.checkpoint_id)
        if report is None:
            return f"checkpoint {order.checkpoint_id} is not one that this trainer has"
        if report.state != "confirmed":
            return f"the checkpoint of step {report.step} is {report.state}, not confirmed good"
        try:
            self._snapshot = training.keeper.load(order.checkpoint_id)
            training.state.validate(self._snapshot)
        except CheckpointInvalid as error:
            training.keeper.distrust(order.checkpoint_id, str(error))
            return f"the checkpoint of step {report.step} cannot be restored: {error}"
        self._report = report
        return None

    def apply(self, order: Rollback, training: Training) -> Applied:
        """From here on the attempt is raised; the steps made since stay in history as a branch."""
        keeper, snapshot, report = training.keeper, self._snapshot, self._report
        if keeper is None or snapshot is None or report is None:
            raise RuntimeError("rollback was applied without its check")
        position = training.position
        made = position.step + 1 - report.step
        rewinds_scheduler = training.follows_next_step() or _steps_every_step(training, snapshot, made)
        training.state.restore(snapshot, scheduler=rewinds_scheduler, reseed=position.attempt + 1)
        proof = verify(training.state, snapshot, scheduler=rewinds_scheduler)
        if proof["differences"]:
            raise RollbackFailed(
                f"after restoring the checkpoint of step {report.step}: {'; '.join(proof['differences'])}"
            )
        position.attempt += 1
        position.next_step = report.step
        keeper.rolled_back(to_step=report.step, attempt=position.attempt)
        training.rewound(snapshot)
        return Applied(
            f"rolled back to the checkpoint of step {report.step}, {max(made, 0)} steps back",
            {
                "checkpoint_id": str(report.checkpoint_id),
                "restored_step": report.step,
                "steps_lost": max(made, 0),
                "scheduler_rewound": rewinds_scheduler,
                "checksum": proof["checksum"],
                "learning_rates": proof["learning_rates"],
                "optimizer_steps": proof["optimizer_steps"],
                "scheduler_steps": proof["scheduler_steps"],
            },
        )


def _steps_every_step(training: Training, snapshot: Snapshot, steps_made: int) -> bool:
    """Whether the schedules advance with the steps; one stepped per epoch is not rewound when the epochs are not."""
    return all(count >= steps_made for count in training.state.scheduler_advance(snapshot))
