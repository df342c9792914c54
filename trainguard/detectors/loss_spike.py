"""The loss jumps out of its band."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import JsonValue

from trainguard.detectors.base import Detector
from trainguard.detectors.snapshot import State, flag_in
from trainguard.detectors.watch import Watch
from trainguard.wire import Finding, FindingKind

OVER_TAIL = 1.3
"""A point must lie this much farther out than the run's own noise does now and then."""
LED_BY = 5.0
"""Bands of the gradient norm that confirm a jump of the loss at its first point."""
HIGH_Z = 10.0
TOGETHER = 3
"""Points that count together, and what they must be: bands each, times what the run's noise throws out now and then
in sum, and bands of the loudest stretch of the last 512 points on the average."""
EACH = 2.0
TAILS = 2.0
LONG_TOGETHER = 2.5


class LossSpike(Detector):
    """A robust z-score of the loss, once per excursion, at its first point.

    The common rules compare with a mean and a standard deviation that the spike itself enters (OLMo's
    stability monitor, Levanter's and MaxText's skip-step). Here level and width are medians (Hampel 1974) of
    accepted points only, and what the run's own noise throws out now and then raises the bar.

    One point is enough where it is plain: ``instant_z`` bands, or a rise by three quarters, or the gradient norm
    left its band with it; else a second point must follow within the excursion, because single heavy batches
    are everyday noise in small-batch training. Three points in a row may be lower each, with ``together`` bands in sum.

    ``z``: bands above the center; ``rise``: share of the center's size that it must rise as well, so that the
    tiny noise of a converged or smoothed curve raises no alarm; ``long_z``: times the loudest band of the last
    512 points.

    `Divergence` is the better choice for whether it comes back; `NonFinite` for a loss that is no number.

    >>> from trainguard.wire import Observation
    >>> spike = LossSpike()
    >>> losses = [2.0 + 0.05 * (step % 4) for step in range(60)] + [6.0, 5.0, 2.1, 2.0, 2.1]
    >>> found = [spike.update(Observation(0, step, 0.0, {"loss": loss})) for step, loss in enumerate(losses)]
    >>> [(finding.step, finding.severity) for finding in found if finding]
    [(60, 'warning')]
    """

    name: ClassVar[str] = "loss_spike"
    kind: ClassVar[FindingKind] = "loss_spike"
    rests: ClassVar[bool] = True

    def __init__(
        self,
        *,
        sensitivity: str = "normal",
        z: float = 6.5,
        rise: float = 0.05,
        long_z: float = 5.0,
        instant_z: float = 20.0,
        together: float = 12.0,
    ) -> None:
        super().__init__(sensitivity=sensitivity)
        self.z = self._threshold("z", z)
        self.rise = self._threshold("rise", rise)
        self.long_z = self._threshold("long_z", long_z)
        self.instant_z = self._threshold("instant_z", instant_z)
        self.together = self._threshold("together", together)

    def _reset(self) -> None:
        self._firing = False

    def judge(self, watch: Watch) -> Finding | None:
        """See `Detector.judge`."""
        base = watch.loss
        if self._firing and base.calm:
            self._firing = False
        if self._firing or base.calm or watch.grace or not watch.loss_seen:
            return None
        if self._lasts(watch):
            return self._report(watch)
        size = abs(base.center)
        needed = max(self.z * self.strictness, OVER_TAIL * base.tail)
        if base.peak_z < needed or base.rise < self.rise * size:
            return None
        if base.rise < self.long_z * self.strictness * base.long_band:
            return None
        if base.held < 2 and not self._is_plain(watch, needed):
            return None
        return self._report(watch)

    def _lasts(self, watch: Watch) -> bool:
        """Whether this point and the two before it are together what none of them is alone.

        A spike of eight deviations that decays over some steps has no single point beyond doubt, but noise does not
        put three such points in a row; a cumulated sum (Page 1954) of three.
        """
        base = watch.loss
        zs = [point.loss_z for point in watch.points()[-TOGETHER:]]
        if len(zs) < TOGETHER:
            return False
        total = sum(zs)
        if min(zs) < EACH * self.strictness or total < max(self.together * self.strictness, TAILS * base.tail):
            return False
        rise = total * base.band / TOGETHER
        return rise >= self.rise * abs(base.center) and rise >= LONG_TOGETHER * self.strictness * base.long_band

    def _report(self, watch: Watch) -> Finding:
        base = watch.loss
        self._firing = True
        return self._finding(
            watch,
            "warning",
            f"The loss rose to {watch.loss_value:.4g} from a level of {base.center:.4g}, "
            f"{base.z:.3g} times its usual scatter of {base.band:.2g}.",
            onset=watch.onset(),
            value=watch.loss_value,
            evidence={"loss_before": base.center, "loss_band": base.band, "z": base.z},
        )

    def _is_plain(self, watch: Watch, needed: float) -> bool:
        base = watch.loss
        if watch.gradient_seen and watch.gradient.z > LED_BY:
            return True
        return base.z >= max(needed, self.instant_z * self.strictness) or (
            base.z >= HIGH_Z * self.strictness and base.rise > 0.75 * abs(base.center)
        )

    def memory(self) -> State:
        """See `Detector.memory`."""
        return {"firing": self._firing}

    def load_memory(self, state: Mapping[str, JsonValue]) -> None:
        """See `Detector.load_memory`."""
        self._firing = flag_in(state, "firing")
