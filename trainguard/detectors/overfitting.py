"""What the training still learns, the validation unlearns."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from itertools import pairwise
from math import isfinite
from statistics import median
from typing import ClassVar

from pydantic import JsonValue

from trainguard.detectors.base import Detector
from trainguard.detectors.drift import kendall_tau
from trainguard.detectors.snapshot import State, flag_in, numbers_in
from trainguard.detectors.watch import Watch
from trainguard.wire import Finding, FindingKind

KEPT = 64
MONOTONE = 0.5
OVER_SCATTER = 3.0
FALLEN = 0.005
"""Share of its level by which the training loss must have gone down since the best evaluation."""
LARGEST = 1e290


class Overfitting(Detector):
    """The validation loss rises over its best while the training loss falls.

    Read from the signal ``val_loss``, which the hook puts into the observation after ``hook.evaluated``. So many
    evaluations as ``patience`` since the best one, a rise of more than ``rise`` of the best and of three times the
    evaluations' own scatter, most of it upwards (Mann-Kendall), and a training level below what it was then
    (generalisation loss, Prechelt 1998, "Early stopping, but when?").

    `Divergence` is the better choice where the training loss rises too.

    >>> from trainguard.wire import Observation
    >>> detector, found = Overfitting(), []
    >>> for step in range(400):
    ...     signals = {"loss": 2.0 - 0.002 * step}
    ...     if step % 20 == 0:
    ...         signals["val_loss"] = 2.0 - 0.002 * min(step, 200) + 0.003 * max(0, step - 200)
    ...     found.append(detector.update(Observation(0, step, 0.0, signals)))
    >>> [(finding.step, finding.onset_step) for finding in found if finding]
    [(280, 200)]
    """

    name: ClassVar[str] = "overfitting"
    kind: ClassVar[FindingKind] = "overfitting"
    needs: ClassVar[str] = "val_loss"

    def __init__(self, *, sensitivity: str = "normal", patience: float = 4, rise: float = 0.03) -> None:
        super().__init__(sensitivity=sensitivity)
        self.patience = self._threshold("patience", patience)
        self.rise = self._threshold("rise", rise)

    def _reset(self) -> None:
        self._steps: deque[float] = deque(maxlen=KEPT)
        self._values: deque[float] = deque(maxlen=KEPT)
        self._training: deque[float] = deque(maxlen=KEPT)
        self._told = False

    def judge(self, watch: Watch) -> Finding | None:
        """See `Detector.judge`."""
        if watch.resumed:
            while self._steps and self._steps[-1] >= watch.step:
                self._steps.pop()
                self._values.pop()
                self._training.pop()
            self._told = False
        if not watch.evaluated:
            return None
        value = watch.signals["val_loss"]
        if not isfinite(value) or not watch.loss.ready:
            return None
        self._steps.append(watch.step)
        self._values.append(min(max(value, -LARGEST), LARGEST))
        self._training.append(min(max(watch.loss.center, -LARGEST), LARGEST))
        return self._compare(watch)

    def _compare(self, watch: Watch) -> Finding | None:
        values = list(self._values)
        best = min(values)
        index = values.index(best)
        since = values[index:]
        rise = values[-1] - best
        if self._told:
            self._told = rise > 0.5 * self.rise * abs(best)
            return None
        if len(since) <= self.patience * self.strictness or rise <= self.rise * self.strictness * abs(best):
            return None
        scatter = 1.4826 * median(abs(after - before) for before, after in pairwise(values)) / 2**0.5
        before, now = self._training[index], self._training[-1]
        if (
            rise <= OVER_SCATTER * scatter
            or kendall_tau(since) < MONOTONE
            or median(since[-3:]) <= best + 0.5 * self.rise * abs(best)
            or now >= before - FALLEN * abs(before)
        ):
            return None
        self._told = True
        return self._finding(
            watch,
            "warning",
            f"The validation loss has risen to {values[-1]:.4g} from its best of {best:.4g} at step "
            f"{int(self._steps[index])}, while the training loss went down from {before:.4g} to {now:.4g}.",
            onset=int(self._steps[index]),
            signal="val_loss",
            value=values[-1],
            evidence={
                "val_loss_before": best,
                "val_loss_at": values[-1],
                "training_loss_before": before,
                "training_loss_at": now,
                "evaluations": float(len(since) - 1),
            },
        )

    def memory(self) -> State:
        """See `Detector.memory`."""
        return {
            "steps": list(self._steps),
            "values": list(self._values),
            "training": list(self._training),
            "told": self._told,
        }

    def load_memory(self, state: Mapping[str, JsonValue]) -> None:
        """See `Detector.load_memory`."""
        rows = [numbers_in(state, name) for name in ("steps", "values", "training")]
        told = flag_in(state, "told")
        self._reset()
        for kept, row in zip((self._steps, self._values, self._training), rows):
            kept.extend(row)
        self._told = told
