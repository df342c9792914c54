"""The gradient fades to nothing while there is still something to learn."""

from __future__ import annotations

from collections.abc import Mapping
from math import exp
from typing import ClassVar

from pydantic import JsonValue

from trainguard.detectors.base import Detector
from trainguard.detectors.layered import LayerCounts
from trainguard.detectors.snapshot import State, mapping_in, number_in, whole_in
from trainguard.detectors.streak import Streak
from trainguard.detectors.watch import Watch
from trainguard.wire import Finding, FindingKind

KNOWN = 96
"""Points from which on the usual norm is known."""
NEVER_THERE = -60.0
"""Logarithm of a usual norm that is none."""
SAMPLED = 16
"""Points after which the usual norm is asked for anew."""
STILL_TO_LEARN = 0.5
"""Share of its usual level below which the loss itself has gone down, and the gradient rightly with it."""
FADED = 1e-6
"""Share of the largest layer's gradient norm below which a layer learns nothing."""
FADED_SHARE = 0.25


class GradVanishing(Detector):
    """The gradient norm drops to a thousandth of what it was, the loss does not, and it stays so.

    A run that has learnt its data by heart has tiny gradients too, and a loss that went down with them; that is no
    trouble. ``ratio``: share of the usual norm of the last 512 points; ``patience``: points in a row. Where layers
    are measured, a quarter of them (biases aside) with less than a millionth of the largest layer's gradient at
    ``looks`` looks in a row is the vanishing of depth (Hochreiter 1991; Glorot and Bengio 2010).

    `DeadLayers` is the better choice for a layer whose gradient is exactly zero, `Plateau` for a loss that stands.

    >>> from trainguard.wire import Observation
    >>> detector = GradVanishing()
    >>> signals = [{"loss": 2.0, "grad_norm": 1.0 + 0.1 * (step % 3)} for step in range(200)]
    >>> signals += [{"loss": 2.0, "grad_norm": 1e-6}] * 20
    >>> found = [detector.update(Observation(0, step, 0.0, row)) for step, row in enumerate(signals)]
    >>> [(finding.step, finding.onset_step, finding.severity) for finding in found if finding]
    [(207, 200, 'warning')]
    """

    name: ClassVar[str] = "grad_vanishing"
    kind: ClassVar[FindingKind] = "grad_vanishing"

    def __init__(
        self, *, sensitivity: str = "normal", ratio: float = 1e-3, patience: float = 8, looks: float = 3
    ) -> None:
        super().__init__(sensitivity=sensitivity)
        self.ratio = self._threshold("ratio", ratio)
        self.patience = self._threshold("patience", patience)
        self.looks = self._threshold("looks", looks)

    def _reset(self) -> None:
        self._streak = Streak()
        self._layers = LayerCounts()
        self._usual = 0.0
        self._usual_loss = 0.0
        self._until_sample = SAMPLED

    def judge(self, watch: Watch) -> Finding | None:
        """See `Detector.judge`."""
        if watch.resumed:
            self._streak.reset()
        base, norm = watch.gradient, watch.gradient_value
        if norm is not None and watch.gradient_seen:
            if not self._streak.count:
                self._until_sample -= 1
                if self._until_sample <= 0 and base.accepted >= KNOWN:
                    self._until_sample = SAMPLED
                    # A gradient that was never there has not fallen: that is `NoUpdate`'s to tell.
                    self._usual = exp(base.long_center) if base.long_center > NEVER_THERE else 0.0
                    self._usual_loss = watch.loss.long_center if watch.loss.ready else 0.0
            if norm < self.ratio * self._usual or self._streak.count:
                finding = self._judge_fall(watch, norm)
                if finding is not None:
                    return finding
        return self._judge_layers(watch) if watch.slashed else None

    def _judge_fall(self, watch: Watch, norm: float) -> Finding | None:
        has_learnt = (
            watch.loss_seen
            and watch.loss_value is not None
            and abs(watch.loss_value) < STILL_TO_LEARN * abs(self._usual_loss)
        )
        holds = norm < self.ratio * self._usual and not has_learnt and watch.signals.get("update_skipped", 0.0) <= 0
        self._streak.add(watch.step, holds)
        if not holds or not self._streak.is_due(self.patience * self.strictness):
            return None
        return self._finding(
            watch,
            "warning",
            f"The gradient norm has fallen to {norm:.3g} from a level of {self._usual:.3g}, and the loss with its "
            "level is not the reason.",
            onset=self._streak.onset,
            signal="grad_norm",
            value=norm,
            evidence={"grad_norm_before": self._usual, "grad_norm_at": norm},
        )

    def _judge_layers(self, watch: Watch) -> Finding | None:
        found = watch.layers.get("grad_norm", {})
        norms = {layer: norm for layer, norm in found.items() if not layer.endswith("bias")}
        largest = max((norm for norm in norms.values() if norm < float("inf")), default=0.0)
        faded = [layer for layer, norm in norms.items() if 0 < norm < FADED * largest]
        if len(faded) < max(2, FADED_SHARE * len(norms)):
            faded = []
        due = self._layers.look(watch.step, faded, self.looks) if norms else []
        if not due:
            return None
        smallest = min(due, key=lambda layer: norms[layer])
        return self._finding(
            watch,
            "warning",
            f"{self._layers.named(due)} has less than a millionth of the gradient of the largest layer.",
            onset=self._layers.onset,
            signal=f"grad_norm/{smallest}",
            value=norms[smallest],
            evidence={"layers": float(len(due)), "layers_in_all": float(len(norms)), "largest_grad_norm": largest},
        )

    def memory(self) -> State:
        """See `Detector.memory`."""
        return {
            "streak": self._streak.state_dict(),
            "layers": self._layers.state_dict(),
            "usual": self._usual,
            "usual_loss": self._usual_loss,
            "until_sample": self._until_sample,
        }

    def load_memory(self, state: Mapping[str, JsonValue]) -> None:
        """See `Detector.load_memory`."""
        usual, usual_loss = number_in(state, "usual"), number_in(state, "usual_loss")
        until_sample = whole_in(state, "until_sample")
        self._streak.load_state_dict(mapping_in(state, "streak"))
        self._layers.load_state_dict(mapping_in(state, "layers"))
        self._usual, self._usual_loss, self._until_sample = usual, usual_loss, until_sample
