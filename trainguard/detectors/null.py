"""The detector that never says anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import JsonValue

from trainguard.detectors.base import Detector
from trainguard.detectors.snapshot import State
from trainguard.detectors.watch import Watch
from trainguard.wire import Finding, FindingKind


class NullDetector(Detector):
    """Stands in where a detector is wanted and none is meant: the floor that any detector must beat.

    It is in no table. Every other detector is the better choice where something should be found.

    >>> from trainguard.wire import Observation
    >>> NullDetector().update(Observation(0, 0, 0.0, {"loss": float("nan")})) is None
    True
    """

    name: ClassVar[str] = "null"
    kind: ClassVar[FindingKind] = "loss_spike"

    def judge(self, watch: Watch) -> Finding | None:
        """Nothing, whatever was seen."""
        return None

    def _reset(self) -> None:
        """There is no state."""

    def memory(self) -> State:
        """See `Detector.memory`."""
        return {}

    def load_memory(self, state: Mapping[str, JsonValue]) -> None:
        """There is no state."""
