"""What every way to meet a fault has in common."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from benchmarks.recovery.workloads import Batch, Stream, Training


@dataclass
class Deed:
    """Something a strategy did to a training."""

    step: int
    """The step after which it was done."""
    next_step: int
    words: str


@dataclass
class Account:
    """What a strategy did, told by itself."""

    deeds: list[Deed] = field(default_factory=list)
    updates_skipped: int = 0
    gave_up: str = ""
    """Why it ended the training before its time."""
    incidents: list[dict[str, object]] = field(default_factory=list)
    """Ours only: what the local brain says of each incident at the end."""

    @property
    def steps_lost(self) -> int:
        return sum(max(0, deed.step + 1 - deed.next_step) for deed in self.deeds)


class Strategy:
    """Does nothing: the training as it is."""

    def __init__(self, training: Training, steps: int, folder: Path | None) -> None:
        self.training = training
        self.total = steps
        self.folder = folder
        self.account = Account()

    def steps(self) -> Iterator[int]:
        yield from range(self.total)

    def batches(self, stream: Stream) -> Iterator[Batch]:
        return iter(stream)

    def may_update(self, loss: Tensor) -> bool:
        """Between backward and update; may change the gradients."""
        return True

    def after(self, step: int, loss: Tensor) -> None:
        """After the update of ``step``."""

    def close(self) -> None:
        """The training is over."""
