"""The training waits for its data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import JsonValue

from trainguard.detectors.base import Detector
from trainguard.detectors.snapshot import State, mapping_in, number_in
from trainguard.detectors.streak import Streak
from trainguard.detectors.watch import Watch
from trainguard.wire import Finding, FindingKind

IN_A_ROW = 16


class DataStarvation(Detector):
    """More than ``share`` of each step is waiting for the batch, for 16 steps and ``patience_seconds`` in all.

    ``data_wait_seconds`` is measured by ``hook.batches``. A wait below ``least_seconds`` is nobody's trouble, and
    the first step of an epoch, when workers start, is one step. Needs no past, so it also sees a run that has
    starved from its first step.

    `SlowStep` is the better choice for steps that became slow for another reason.

    >>> from trainguard.wire import Observation
    >>> detector = DataStarvation()
    >>> signals = {"step_seconds": 0.5, "data_wait_seconds": 0.4}
    >>> found = [detector.update(Observation(0, step, 0.0, signals)) for step in range(300)]
    >>> [(finding.step, finding.onset_step) for finding in found if finding]
    [(150, 0)]
    """

    name: ClassVar[str] = "data_starvation"
    kind: ClassVar[FindingKind] = "slow_step"
    needs: ClassVar[str] = "data_wait_seconds"

    def __init__(
        self,
        *,
        sensitivity: str = "normal",
        share: float = 0.5,
        patience_seconds: float = 60.0,
        least_seconds: float = 0.05,
    ) -> None:
        super().__init__(sensitivity=sensitivity)
        self.share = self._threshold("share", share)
        self.patience_seconds = self._threshold("patience_seconds", patience_seconds)
        self.least_seconds = self._threshold("least_seconds", least_seconds)

    def _reset(self) -> None:
        self._streak = Streak(calm_after=3)
        self._lost = 0.0

    def judge(self, watch: Watch) -> Finding | None:
        """See `Detector.judge`."""
        waited = watch.signals.get("data_wait_seconds")
        if watch.resumed:
            self._streak.reset()
        if waited is None:
            return None
        seconds = watch.signals.get("step_seconds")
        if seconds is None or not 0 < seconds < 1e9 or watch.evaluated:
            return None
        holds = self.least_seconds < waited < 1e9 and waited > min(self.share * self.strictness, 0.9) * seconds
        if holds:
            self._lost = waited + (self._lost if self._streak.count else 0.0)
        if holds or self._streak.count:
            self._streak.add(watch.step, holds)
        if not holds or self._lost < self.patience_seconds or not self._streak.is_due(IN_A_ROW):
            return None
        return self._finding(
            watch,
            "warning",
            f"{100 * min(waited / seconds, 1.0):.0f} % of a step of {seconds:.3g} s is waiting for the batch, "
            f"and has been for {self._streak.count} steps.",
            onset=self._streak.onset,
            signal="data_wait_seconds",
            value=waited,
            evidence={"step_seconds_at": seconds, "data_wait_seconds_at": waited},
        )

    def memory(self) -> State:
        """See `Detector.memory`."""
        return {"streak": self._streak.state_dict(), "lost": self._lost}

    def load_memory(self, state: Mapping[str, JsonValue]) -> None:
        """See `Detector.load_memory`."""
        lost = number_in(state, "lost")
        self._streak.load_state_dict(mapping_in(state, "streak"))
        self._lost = lost
