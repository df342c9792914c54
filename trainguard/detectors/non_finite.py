"""A loss, a gradient or a parameter that is no longer a number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import JsonValue

from trainguard.detectors.base import Detector
from trainguard.detectors.snapshot import State, text_in, whole_in
from trainguard.detectors.watch import Watch
from trainguard.wire import Finding, FindingKind


class NonFinite(Detector):
    """NaN or infinity in loss, gradients or parameters: once per excursion, and once when it becomes critical.

    One such step is a warning: a bad batch, or an overflow that the guard or the scaler skipped. Critical are any
    non-finite parameter and ``critical_after`` such updates in a row that were not skipped: the state itself is
    lost and no further step can heal it. While every update is skipped the parameters are as sound as before, and
    a pocket of bad batches passes by itself; only after ``critical_after_skipped`` in a row is it likelier that
    something else than a parameter (a running statistic) was lost.

    A step that a GradScaler skipped (``update_skipped`` with a finite loss while ``loss_scale`` just fell) is how
    mixed precision works (Micikevicius et al. 2018), and no finding. An excursion ends after ``calm_after`` finite
    observations in a row.

    `GradExplosion` is the better choice for what comes before it.

    >>> from trainguard.wire import Observation
    >>> nan, detector = float("nan"), NonFinite()
    >>> found = [detector.update(Observation(0, step, 0.0, {"loss": loss}))
    ...          for step, loss in enumerate([2.0, nan, nan, nan, nan])]
    >>> [(finding.step, finding.onset_step, finding.severity) for finding in found if finding]
    [(1, 1, 'warning'), (3, 1, 'critical')]
    """

    name: ClassVar[str] = "non_finite"
    kind: ClassVar[FindingKind] = "non_finite"

    def __init__(
        self,
        *,
        sensitivity: str = "normal",
        critical_after: float = 3,
        critical_after_skipped: float = 32,
        calm_after: float = 3,
    ) -> None:
        super().__init__(sensitivity=sensitivity)
        self.critical_after = self._threshold("critical_after", critical_after)
        self.critical_after_skipped = self._threshold("critical_after_skipped", critical_after_skipped)
        self.calm_after = self._threshold("calm_after", calm_after)

    def _reset(self) -> None:
        self._told = ""
        self._finite = 0
        self._streak = 0
        self._losses = 0
        self._unskipped = 0
        self._onset = 0

    def judge(self, watch: Watch) -> Finding | None:
        """See `Detector.judge`."""
        if watch.resumed:
            self._reset()
        if watch.loss_is_finite and watch.gradient_is_finite and not watch.params_nonfinite:
            if self._streak:
                self._streak = self._losses = self._unskipped = 0
            self._finite += 1
            if self._told and self._finite >= self.calm_after:
                self._told = ""
            return None
        self._count(watch)
        if not self._told:
            self._onset = watch.onset()
        self._finite = 0
        is_critical = (
            watch.params_nonfinite
            or self._unskipped >= self.critical_after
            or self._streak >= self.critical_after_skipped
        )
        if self._told == "critical" or (self._told and not is_critical):
            return None
        self._told = "critical" if is_critical else "warning"
        return self._report(watch)

    def _count(self, watch: Watch) -> None:
        self._streak += 1
        self._losses = 0 if watch.loss_is_finite else self._losses + 1
        if watch.signals.get("update_skipped", 0.0) <= 0:
            self._unskipped += 1

    def _report(self, watch: Watch) -> Finding:
        signals = watch.signals
        counted = ("nonfinite_grads", "nonfinite_params", "update_skipped", "loss_scale")
        evidence = {name: signals[name] for name in counted if name in signals}
        evidence["nonfinite_losses_in_a_row"] = self._losses
        signal, value = "loss", watch.loss_value
        if watch.params_nonfinite:
            signal, value = "nonfinite_params", signals["nonfinite_params"]
            message = f"{value:.6g} parameter elements are not finite; no further step can heal that."
        elif not watch.loss_is_finite:
            many = f" for {self._losses} observations in a row" if self._losses > 1 else ""
            message = f"The loss is {value}{many}."
        else:
            signal = "grad_norm" if watch.gradient_value is not None else "nonfinite_grads"
            value = watch.gradient_value if watch.gradient_value is not None else signals["nonfinite_grads"]
            message = f"The gradients are not finite ({signal} is {value:.6g})."
        if signals.get("update_skipped", 0.0) > 0 and not watch.params_nonfinite:
            message += " The update of this step was skipped, so it did not reach the parameters."
        return self._finding(
            watch,
            "critical" if self._told == "critical" else "warning",
            message,
            onset=self._onset,
            signal=signal,
            value=value,
            evidence=evidence,
        )

    def memory(self) -> State:
        """See `Detector.memory`."""
        return {
            "told": self._told,
            "finite": self._finite,
            "streak": self._streak,
            "losses": self._losses,
            "unskipped": self._unskipped,
            "onset": self._onset,
        }

    def load_memory(self, state: Mapping[str, JsonValue]) -> None:
        """See `Detector.load_memory`."""
        self._told = text_in(state, "told")
        self._finite = whole_in(state, "finite")
        self._streak = whole_in(state, "streak")
        self._losses = whole_in(state, "losses")
        self._unskipped = whole_in(state, "unskipped")
        self._onset = whole_in(state, "onset")
