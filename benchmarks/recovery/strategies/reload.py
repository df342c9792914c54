"""The shipped state of the art: where the loss is NaN, the last checkpoint is loaded again."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from benchmarks.recovery.strategies.base import Deed, Strategy
from benchmarks.recovery.workloads import Training


class ReloadOnNaN(Strategy):
    """Looks at every step's loss, and keeps the newest checkpoint that was taken while the loss was finite.

    Rate and data stay as they are: the data goes on, the schedule goes back with the model.
    """

    every: ClassVar[int] = 50
    at_most: ClassVar[int] = 20
    """Loads without one new checkpoint in between; then it can only go on for ever."""

    def __init__(self, training: Training, steps: int, folder: Path | None) -> None:
        super().__init__(training, steps, folder)
        self._next = 0
        self._loads = 0
        self._saved = self._parts_saved()

    def steps(self) -> Iterator[int]:
        while self._next < self.total and not self.account.gave_up:
            step, self._next = self._next, self._next + 1
            yield step

    def after(self, step: int, loss: Tensor) -> None:
        if math.isnan(loss.item()):
            if self._loads == self.at_most:
                self.account.gave_up = f"the same checkpoint was loaded {self.at_most} times"
                return
            self._loads += 1
            at, states = self._saved
            for part, state in zip(self._parts(), states):
                part.load_state_dict(copy.deepcopy(state))
            self._next = at
            self.account.deeds.append(Deed(step, at, f"the loss is NaN: the checkpoint of step {at} is loaded again"))
        elif self._next % self.every == 0:
            self._saved, self._loads = self._parts_saved(), 0

    def _parts(self) -> list[Any]:
        training = self.training
        scaler = [training.scaler] if training.scaler is not None else []
        return [training.model, *training.optimizers, *training.schedulers, *scaler]

    def _parts_saved(self) -> tuple[int, list[Any]]:
        return self._next, [copy.deepcopy(part.state_dict()) for part in self._parts()]
