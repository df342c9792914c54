"""The gradient norm jumps out of its band, often a step or more before the loss does."""

from __future__ import annotations

from collections.abc import Mapping
from math import exp
from typing import ClassVar

from pydantic import JsonValue

from trainguard.detectors.base import Detector
from trainguard.detectors.snapshot import State, flag_in, whole_in
from trainguard.detectors.watch import Watch
from trainguard.wire import Finding, FindingKind

PLAIN = 2.5
"""Times ``ratio`` from where on one point is enough, with nothing to confirm it."""
PLAIN_Z = 15.0
LOSS_Z = 3.0
OVER_TAIL = 1.6
"""A norm must lie this much farther out than the run's own noise does now and then."""
LASTS = 5
"""Points in a row after which an explosion is no longer one bad batch."""


class GradExplosion(Detector):
    """A robust z-score of the logarithm of the gradient norm, once per excursion.

    Gradient noise is multiplicative, so the norm is judged by its logarithm (ZClip, Kumar et al. 2025, judges
    it by a mean and a deviation instead; AXLearn by a factor of 20 over an average). ``grad_norm`` before
    clipping is used, else ``grad_norm_clipped``, which can hardly rise and so hardly alarms.

    ``z``: bands above the center of the logarithm; ``ratio``: times the center, and the long-run center, that
    the norm must reach as well; ``critical_ratio``: times the center for five points in a row that make it critical.

    Small batches throw the norm of a single step to five times its level every hundred steps. So one point must be
    ten times the center, or fifteen bands above it, or the loss must be out of its usual scatter with it; else a
    second one must follow.

    `LossSpike` is the better choice where no gradient norm is recorded; `NonFinite` for one that is no number.

    >>> from trainguard.wire import Observation
    >>> explosion = GradExplosion()
    >>> norms = [1.0 + 0.1 * (step % 4) for step in range(60)] + [30.0, 1.0, 1.1]
    >>> found = [explosion.update(Observation(0, step, 0.0, {"grad_norm": g})) for step, g in enumerate(norms)]
    >>> [(one.step, one.severity, round(one.evidence["grad_norm_before"], 1)) for one in found if one]
    [(60, 'warning', 1.2)]
    """

    name: ClassVar[str] = "grad_explosion"
    kind: ClassVar[FindingKind] = "grad_explosion"
    rests: ClassVar[bool] = True

    def __init__(
        self, *, sensitivity: str = "normal", z: float = 7.5, ratio: float = 4.0, critical_ratio: float = 100.0
    ) -> None:
        super().__init__(sensitivity=sensitivity)
        self.z = self._threshold("z", z)
        self.ratio = self._threshold("ratio", ratio)
        self.critical_ratio = self._threshold("critical_ratio", critical_ratio)

    def _reset(self) -> None:
        self._firing = False
        self._critical = False
        self._huge = 0

    def judge(self, watch: Watch) -> Finding | None:
        """See `Detector.judge`."""
        base = watch.gradient
        if base.calm:
            self._reset()
            return None
        if watch.grace or not watch.gradient_seen:
            return None
        before = exp(base.center)
        norm = watch.gradient_value or 0.0
        self._huge = self._huge + 1 if norm >= self.critical_ratio * before else 0
        if self._huge >= LASTS and not self._critical:
            self._critical = self._firing = True
            return self._report(watch, before, norm, f"and stays there for {LASTS} steps")
        if self._firing or base.z < self.z * self.strictness or norm < self.ratio * before:
            return None
        # After a stretch of tiny gradients the usual size is no explosion, so the long memory is asked as well.
        if norm < self.ratio * exp(base.long_center) or base.z < OVER_TAIL * base.tail:
            return None
        if not self._is_plain(watch, norm / before):
            return None
        self._firing = True
        return self._report(watch, before, norm, "")

    def _is_plain(self, watch: Watch, times: float) -> bool:
        base = watch.gradient
        return (
            times >= PLAIN * self.ratio
            or base.z >= PLAIN_Z * self.strictness
            or base.held >= 2
            or watch.loss.z >= LOSS_Z * self.strictness
        )

    def _report(self, watch: Watch, before: float, norm: float, more: str) -> Finding:
        base = watch.gradient
        return self._finding(
            watch,
            "critical" if self._critical else "warning",
            f"The gradient norm rose to {norm:.4g} from a level of {before:.4g}{more and ' ' + more}.",
            onset=watch.gradient_onset(),
            signal="grad_norm",
            value=norm,
            evidence={"grad_norm_before": before, "grad_norm_band": before * base.band, "z": base.z},
        )

    def memory(self) -> State:
        """See `Detector.memory`."""
        return {"firing": self._firing, "critical": self._critical, "huge": self._huge}

    def load_memory(self, state: Mapping[str, JsonValue]) -> None:
        """See `Detector.load_memory`."""
        self._firing = flag_in(state, "firing")
        self._critical = flag_in(state, "critical")
        self._huge = whole_in(state, "huge")
