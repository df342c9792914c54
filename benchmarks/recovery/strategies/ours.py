"""trainguard in mode ``act``, with its own defaults and no service: the local brain has the whole playbook."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from torch import Tensor

import client_hook
from benchmarks.recovery.strategies.base import Deed, Strategy
from benchmarks.recovery.workloads import Batch, Stream, Training
from client_hook import TrainingHalted
from client_hook.recovery.checkpoints import MemoryCheckpoints


class Ours(Strategy):
    """Synchronous, so that the same seed gives the same story on any machine.

    Without a folder checkpoints are kept in memory; the benchmark's first seed keeps them on disk.
    """

    checkpoint_every: ClassVar[int] = 50

    def __init__(self, training: Training, steps: int, folder: Path | None) -> None:
        super().__init__(training, steps, folder)
        self.hook = client_hook.attach(
            training.model,
            training.optimizers,
            run="bench-recovery",
            mode="act",
            scheduler=training.schedulers,
            scaler=training.scaler,
            checkpoints=MemoryCheckpoints() if folder is None else folder,
            checkpoint_every=self.checkpoint_every,
            synchronous=True,
        )

    def steps(self) -> Iterator[int]:
        return self.hook.steps(self.total)

    def batches(self, stream: Stream) -> Iterator[Batch]:
        return self.hook.batches(stream)

    def after(self, step: int, loss: Tensor) -> None:
        try:
            outcome = self.hook.observe(loss)
        except TrainingHalted as halted:
            self.account.gave_up = halted.reason
            return
        if outcome.action:
            self.account.deeds.append(Deed(outcome.step, outcome.next_step, outcome.reason))

    def close(self) -> None:
        self.hook.close()
        # The only look behind the public door: how the incidents ended is otherwise told to a service alone.
        memory = getattr(self.hook._brain, "memory", None)  # rank 0 alone has one
        self.account.incidents = [
            incident.model_dump(mode="json", include=_TOLD) for incident in (memory.incidents if memory else ())
        ]


_TOLD = {
    "kind",
    "state",
    "severity",
    "onset_step",
    "detected_step",
    "opened_at",
    "steps_lost",
    "rung",
    "relapses",
    "summary",
    "outcome",
}
