"""A layer that no gradient reaches any more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import JsonValue

from trainguard.detectors.base import Detector
from trainguard.detectors.layered import LayerCounts
from trainguard.detectors.snapshot import State, mapping_in, number_in
from trainguard.detectors.watch import Watch
from trainguard.wire import Finding, FindingKind


class DeadLayers(Detector):
    """A layer's gradient is exactly zero, or has become almost all zeros, look after look.

    Units that never fire (ReLU after one update too large: Lu et al. 2019, "Dying ReLU and Initialization"), a branch
    that lost its input, a layer cut off by ``detach``. Many zeros alone are no sign: most rows of an
    embedding have none of a batch's tokens. So it is a gradient of exactly zero, or a share of zeros from ``dead`` on
    in a layer that had at most half of that at its first look.
    ``looks``: looks in a row (the hook looks every 50 steps).

    `GradVanishing` is the better choice for gradients that are tiny but there.

    >>> from trainguard.wire import Observation
    >>> detector = DeadLayers()
    >>> for step in (49, 99, 149, 199, 249):
    ...     norm = 1.0 if step < 100 else 0.0
    ...     finding = detector.update(Observation(0, step, 0.0, {"grad_norm/h.0": norm, "zero_grads/h.0": 1.0 - norm}))
    >>> finding.onset_step, finding.message
    (149, 'Layer h.0 has had no gradient at 3 looks in a row.')
    """

    name: ClassVar[str] = "dead_layers"
    kind: ClassVar[FindingKind] = "dead_layers"
    rests: ClassVar[bool] = True

    def __init__(self, *, sensitivity: str = "normal", looks: float = 3, dead: float = 0.98) -> None:
        super().__init__(sensitivity=sensitivity)
        self.looks = self._threshold("looks", looks)
        self.dead = self._threshold("dead", dead)

    def _reset(self) -> None:
        self._counts = LayerCounts()
        self._first: dict[str, float] = {}

    def judge(self, watch: Watch) -> Finding | None:
        """See `Detector.judge`."""
        layers = watch.layers.get("grad_norm")
        if not layers:
            return None
        zeros_of = watch.layers.get("zero_grads", {})
        dead = []
        for layer, norm in layers.items():
            zeros = zeros_of.get(layer, 0.0)
            if not 0 <= zeros <= 1:
                continue
            first = self._first.setdefault(layer, zeros) if layer in self._first or len(self._first) < 64 else 1.0
            if norm == 0 or (zeros >= self.dead and first <= 0.5 * self.dead):
                dead.append(layer)
        # Where nothing has a gradient, it is not the layers.
        due = [] if len(dead) == len(layers) > 1 else self._counts.look(watch.step, dead, self.looks)
        if not due:
            return None
        return self._finding(
            watch,
            "warning",
            f"{self._counts.named(due)} has had no gradient at {self.looks:.0f} looks in a row.",
            onset=self._counts.onset,
            signal=f"zero_grads/{due[0]}",
            value=zeros_of.get(due[0], 1.0),
            evidence={"layers": float(len(due)), "layers_in_all": float(len(layers))},
        )

    def memory(self) -> State:
        """See `Detector.memory`."""
        return {"counts": self._counts.state_dict(), "first": {**self._first}}

    def load_memory(self, state: Mapping[str, JsonValue]) -> None:
        """See `Detector.load_memory`."""
        first = mapping_in(state, "first")
        shares = {layer: number_in(first, layer) for layer in first}
        self._counts.load_state_dict(mapping_in(state, "counts"))
        self._first = shares
