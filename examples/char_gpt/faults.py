"""What goes wrong: faults that people really have, each with a place in the training where it begins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from examples.char_gpt.corpus import Batch, Corruption


def _unchanged(step: int) -> float:
    return 1.0


@dataclass(frozen=True)
class Fault:
    """One fault. ``onset_step`` is the first step (and batch) that it touches."""

    name: str
    onset_step: int
    sentence: str
    rate_factor: Callable[[int], float] = _unchanged
    """By what the schedule's rate is multiplied at a step. It is code, so it strikes again after a rollback."""
    corruption: Corruption | None = None
    """What becomes of the batches at a position of the stream, which a rollback does not revisit."""


def scaled_twice(steps: int, batch_size: int) -> Fault:
    """The linear scaling rule, applied a second time.

    The base rate is already meant for the whole batch. From the middle on the schedule comes from another
    function, whose author multiplied by the batch size "because the rate is per sample" (Goyal et al. 2017,
    https://arxiv.org/abs/1706.02677, scale it once). Nothing crashes; the rate is 32 times too high.
    """
    onset = steps // 2
    return Fault(
        name="lr-bug",
        onset_step=onset,
        sentence=f"from step {onset} on, the schedule multiplies the learning rate by the batch size, {batch_size}",
        rate_factor=lambda step: float(batch_size) if step >= onset else 1.0,
    )


def slipped_targets(steps: int, batch_size: int) -> Fault:
    """A pocket of batches whose inputs and targets have slipped by one row against each other.

    Two readers walk the same shard, one drops a record, and from there every row is paired with its
    neighbour's targets. Every token is valid, every count is right, and the model unlearns to read. The pocket
    lasts for a seventh of the training, and so late that what it destroys cannot be learned again before the end.
    """
    onset, length = steps * 4 // 5, steps // 7

    def slip(position: int, batch: Batch) -> Batch:
        inputs, targets = batch
        return (inputs, targets.roll(1, dims=0)) if onset <= position < onset + length else batch

    return Fault(
        name="bad-data",
        onset_step=onset,
        sentence=f"batches {onset} to {onset + length - 1} carry the targets of the neighbouring row",
        corruption=slip,
    )


FAULTS: dict[str, Callable[[int, int], Fault]] = {
    "lr-bug": scaled_twice,
    "bad-data": slipped_targets,
}
"""The scenarios by the name that ``SCENARIO`` takes: (steps, batch size) to the fault."""
