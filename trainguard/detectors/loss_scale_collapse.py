"""The GradScaler lowers its scale again and again: mixed precision is not at work, it is failing."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from math import isfinite
from typing import ClassVar

from pydantic import JsonValue

from trainguard.detectors.base import Detector
from trainguard.detectors.snapshot import State, flag_in, number_in, numbers_in, whole_in
from trainguard.detectors.watch import Watch
from trainguard.wire import Finding, FindingKind

FINDING_ITS_SCALE = 50
"""Points in which a scaler that began too high comes down to what the model bears."""
FALLS = 8


class LossScaleCollapse(Detector):
    """Eight falls within ``within`` points, or a scale below ``smallest`` in a run that had a far higher one.

    A scaler lowers its scale at each overflow and raises it after some two thousand good steps (Micikevicius et
    al. 2018), so a fall now and then is how it works. Falls in quick succession mean that the gradients do
    overflow, whatever the scale; below 1 small gradients underflow besides, and the loss may still look well.

    `NonFinite` is the better choice for a loss that is no number.

    >>> from trainguard.wire import Observation
    >>> detector = LossScaleCollapse()
    >>> scales = [65536.0] * 60 + [65536.0 / 2**fall for fall in range(1, 12)]
    >>> found = [detector.update(Observation(0, step, 0.0, {"loss_scale": one})) for step, one in enumerate(scales)]
    >>> [(finding.step, finding.onset_step) for finding in found if finding]
    [(67, 60)]
    """

    name: ClassVar[str] = "loss_scale_collapse"
    kind: ClassVar[FindingKind] = "loss_scale_collapse"
    needs: ClassVar[str] = "loss_scale"

    def __init__(self, *, sensitivity: str = "normal", within: float = 64, smallest: float = 1.0) -> None:
        super().__init__(sensitivity=sensitivity)
        self.within = self._threshold("within", within)
        self.smallest = self._threshold("smallest", smallest)

    def _reset(self) -> None:
        self._begin()
        self._highest = 0.0

    def _begin(self) -> None:
        self._seen = 0
        self._last = 0.0
        self._falls: deque[float] = deque(maxlen=FALLS)
        self._steps: deque[float] = deque(maxlen=FALLS)
        self._told = False

    def judge(self, watch: Watch) -> Finding | None:
        """See `Detector.judge`."""
        scale = watch.signals.get("loss_scale")
        if scale is None or not isfinite(scale) or scale <= 0:
            return None
        if watch.resumed:
            self._begin()
        self._seen += 1
        last, self._last = self._last, scale
        if scale >= last:
            if scale > self._highest:
                self._highest = scale
            if self._told and self._seen - self._falls[-1] > self.within:
                self._told = False
                self._falls.clear()
                self._steps.clear()
            return None
        self._falls.append(self._seen)
        self._steps.append(watch.step)
        is_fast = len(self._falls) == FALLS and self._seen - self._falls[0] < self.within
        is_tiny = scale < self.smallest and self._highest >= 1024 * self.smallest
        settling = self._seen <= FINDING_ITS_SCALE
        if self._told or settling or not (is_fast or is_tiny):
            return None
        self._told = True
        before = self._highest
        return self._finding(
            watch,
            "warning",
            f"The loss scale has collapsed to {scale:.4g}; it had been {before:.4g}.",
            onset=int(self._steps[0]),
            signal="loss_scale",
            value=scale,
            evidence={"loss_scale_before": before, "loss_scale_at": scale, "falls": float(len(self._falls))},
        )

    def memory(self) -> State:
        """See `Detector.memory`."""
        return {
            "seen": self._seen,
            "last": self._last,
            "highest": self._highest,
            "falls": list(self._falls),
            "steps": list(self._steps),
            "told": self._told,
        }

    def load_memory(self, state: Mapping[str, JsonValue]) -> None:
        """See `Detector.load_memory`."""
        seen, last, highest = whole_in(state, "seen"), number_in(state, "last"), number_in(state, "highest")
        falls, steps, told = numbers_in(state, "falls"), numbers_in(state, "steps"), flag_in(state, "told")
        self._begin()
        self._seen, self._last, self._highest, self._told = seen, last, highest, told
        self._falls.extend(falls)
        self._steps.extend(steps)
