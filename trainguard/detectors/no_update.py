"""Steps are made and nothing changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import JsonValue

from trainguard.detectors.base import Detector
from trainguard.detectors.layered import LayerCounts
from trainguard.detectors.snapshot import State, mapping_in
from trainguard.detectors.streak import Streak
from trainguard.detectors.watch import Watch
from trainguard.wire import Finding, FindingKind

MOSTLY_ZERO = 0.5
"""A layer with more zeros than this in its gradient (an embedding) may rightly leave a whole sample alone."""


class NoUpdate(Detector):
    """The parameters did not change at all, though no step was skipped and the rate is not zero.

    The optimizer holds other tensors than the model (it was made before the model was moved, wrapped or
    replaced), everything is frozen, or bf16 parameters swallow updates that are too small for their eight bits.
    ``patience``: such points in a row; ``looks``: looks at the layers in which one has a gradient and does not move.

    `LearningRate` is the better choice for a rate of zero, `DeadLayers` for a layer without a gradient.

    >>> from trainguard.wire import Observation
    >>> detector = NoUpdate()
    >>> ratios = [1e-3] * 20 + [0.0] * 20
    >>> found = [detector.update(Observation(0, step, 0.0, {"update_ratio": one})) for step, one in enumerate(ratios)]
    >>> [(finding.step, finding.onset_step) for finding in found if finding]
    [(29, 20)]
    """

    name: ClassVar[str] = "no_update"
    kind: ClassVar[FindingKind] = "no_update"
    needs: ClassVar[str] = "update_ratio"

    def __init__(self, *, sensitivity: str = "normal", patience: float = 10, looks: float = 3) -> None:
        super().__init__(sensitivity=sensitivity)
        self.patience = self._threshold("patience", patience)
        self.looks = self._threshold("looks", looks)

    def _reset(self) -> None:
        self._still = Streak()
        self._layers = LayerCounts()

    def judge(self, watch: Watch) -> Finding | None:
        """See `Detector.judge`."""
        signals = watch.signals
        ratio = signals.get("update_ratio")
        if watch.resumed:
            self._still.reset()
        if ratio is not None and ratio > 0 and not self._still.count and not watch.layers:
            return None
        if ratio is None or signals.get("update_skipped", 0.0) > 0 or watch.rate == 0:
            return None
        if ratio == 0 or self._still.count:
            self._still.add(watch.step, ratio == 0)
            if self._still.is_due(self.patience):
                return self._finding(
                    watch,
                    "warning",
                    f"No parameter has changed for {self._still.count} points, though steps are made.",
                    onset=self._still.onset,
                    signal="update_ratio",
                    value=0.0,
                )
        if watch.layers and ratio > 0:
            return self._judge_layers(watch)
        return None

    def _judge_layers(self, watch: Watch) -> Finding | None:
        ratios = watch.layers.get("update_ratio")
        if not ratios:
            return None
        norms, zeros = watch.layers.get("grad_norm", {}), watch.layers.get("zero_grads", {})
        still = [
            layer
            for layer, ratio in ratios.items()
            if ratio == 0 and norms.get(layer, 0.0) > 0 and zeros.get(layer, 0.0) < MOSTLY_ZERO
        ]
        due = self._layers.look(watch.step, still, self.looks)
        if not due:
            return None
        return self._finding(
            watch,
            "warning",
            f"{self._layers.named(due)} has a gradient and does not change.",
            onset=self._layers.onset,
            signal=f"update_ratio/{due[0]}",
            value=0.0,
            evidence={"layers": float(len(due))},
        )

    def memory(self) -> State:
        """See `Detector.memory`."""
        return {"still": self._still.state_dict(), "layers": self._layers.state_dict()}

    def load_memory(self, state: Mapping[str, JsonValue]) -> None:
        """See `Detector.load_memory`."""
        self._still.load_state_dict(mapping_in(state, "still"))
        self._layers.load_state_dict(mapping_in(state, "layers"))
