"""Taking up a run whose process was killed: from its last confirmed checkpoint, or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from client_hook.errors import AttachError
from client_hook.recovery.errors import CheckpointInvalid
from client_hook.recovery.schedule_rhythm import ScheduleRhythm
from client_hook.recovery.snapshot import Snapshot
from client_hook.recovery.training import Training
from client_hook.recovery.verification import verify
from trainguard.wire import CheckpointReport


@dataclass(frozen=True)
class Resumed:
    """Where a restarted training stands."""

    checkpoint: CheckpointReport
    memory: dict[str, Any]
    """The hook's own memory of that moment."""


def resume(training: Training, rhythm: ScheduleRhythm) -> Resumed:
    """Restore the newest confirmed checkpoint that is whole, random streams included, and raise the attempt.

    Raises:
        AttachError: none can be restored into this training; the model was not touched.
    """
    keeper = training.keeper
    if keeper is None:
        raise RuntimeError("there is nothing to resume from without checkpoints")
    keeper.take_stock()
    confirmed = [report for report in keeper.reports() if report.state == "confirmed"]
    newest_first = sorted(confirmed, key=lambda report: (report.attempt, report.step, report.saved_at), reverse=True)
    reasons: list[str] = []
    for report in newest_first:
        try:
            snapshot = keeper.load(report.checkpoint_id)
        except CheckpointInvalid as error:
            reasons.append(f"step {report.step}: {error}")
            keeper.distrust(report.checkpoint_id, str(error))
            continue
        try:
            training.state.validate(snapshot)
        except CheckpointInvalid as error:
            # The file is whole: it is the model that is another one, so the checkpoint keeps its good name.
            reasons.append(f"step {report.step}: {error}")
            continue
        resumed = _restored(training, rhythm, snapshot, report)
        # What the killed process saved beyond it was never confirmed, and is no part of the new attempt.
        keeper.rolled_back(to_step=report.step, attempt=training.position.attempt)
        return resumed
    why = "; ".join(reasons[:3]) or "it holds no confirmed checkpoint"
    raise AttachError(
        "the folder holds an unfinished run that cannot "
        f"be taken up: {why}. Give the model and optimizer of that run, another folder, or resume_unfinished=False"
    )


def _restored(training: Training, rhythm: ScheduleRhythm, snapshot: Snapshot, report: CheckpointReport) -> Resumed:
    position = training.position
    training.state.restore(snapshot)
    proof = verify(training.state, snapshot)
    if proof["differences"]:
        raise AttachError(
            f"the checkpoint of step {report.step} did not restore as it should: {'; '.join(proof['differences'])}; "
            "begin a new run with resume_unfinished=False"
        )
    rhythm.catch_up(snapshot.memory.get("schedulers_still_to_come", ()))
    training.data.resume(snapshot.memory.get("data", {}))
    position.attempt += 1
    position.step, position.next_step = report.step - 1, report.step
    position.data_step = int(snapshot.memory.get("data_step", report.step))
    return Resumed(report, snapshot.memory)
