"""Steps have become slow, and stay so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import JsonValue

from trainguard.detectors.base import Detector
from trainguard.detectors.snapshot import State, mapping_in, number_in, numbers_in, whole_in
from trainguard.detectors.streak import Streak
from trainguard.detectors.watch import Watch
from trainguard.detectors.window import SlidingMedian
from trainguard.wire import Finding, FindingKind

SAMPLE_EVERY = 2
WINDOW = 64
KNOWN = 12
REBASE_AFTER = 256
IN_A_ROW = 16


class SlowStep(Detector):
    """``factor`` times the usual time of a step, for ``patience_seconds`` and at least 16 steps in a row.

    One long step is an evaluation, a checkpoint or a garbage collection; the step after an evaluation, after a
    resume and after a gap is passed over. Steps shorter than ``least_seconds`` are nobody's trouble. In seconds by
    the trainer's own clock; a median of accepted steps (Hampel 1974) is what is usual, and after 256 slow ones they
    are.

    `DataStarvation` is the better choice for a run that has waited for its data from the beginning.

    >>> from trainguard.wire import Observation
    >>> detector = SlowStep()
    >>> times = [0.5] * 60 + [2.0] * 40
    >>> found = [detector.update(Observation(0, step, 0.0, {"step_seconds": one})) for step, one in enumerate(times)]
    >>> [(finding.step, finding.onset_step) for finding in found if finding]
    [(89, 60)]
    """

    name: ClassVar[str] = "slow_step"
    kind: ClassVar[FindingKind] = "slow_step"
    needs: ClassVar[str] = "step_seconds"

    def __init__(
        self,
        *,
        sensitivity: str = "normal",
        factor: float = 3.0,
        patience_seconds: float = 60.0,
        least_seconds: float = 0.1,
    ) -> None:
        super().__init__(sensitivity=sensitivity)
        self.factor = self._threshold("factor", factor)
        self.patience_seconds = self._threshold("patience_seconds", patience_seconds)
        self.least_seconds = self._threshold("least_seconds", least_seconds)

    def _reset(self) -> None:
        self._usual = SlidingMedian(WINDOW)
        self._streak = Streak(calm_after=2)
        self._seen = 0
        self._lost = 0.0
        self._slow = 0.0

    def judge(self, watch: Watch) -> Finding | None:
        """See `Detector.judge`."""
        seconds = watch.signals.get("step_seconds")
        if watch.resumed:
            self._streak.reset()
        if seconds is None or not 0 < seconds < 1e9 or watch.evaluated or watch.grace:
            return None
        seen = self._seen = self._seen + 1
        if len(self._usual.ordered) < KNOWN:
            self._learn(seconds)
            return None
        if seconds < self.least_seconds or seconds < self._slow:
            if seen % SAMPLE_EVERY == 0:
                self._learn(seconds)
            if self._streak.count:
                self._streak.add(watch.step, False)
            return None
        before = self._usual.median()
        self._lost = seconds + (self._lost if self._streak.count else 0.0)
        self._streak.add(watch.step, True)
        if self._streak.count >= REBASE_AFTER and self._streak.told:
            self._usual.fill([seconds] * KNOWN)
            self._settle()
        if self._lost < self.patience_seconds or not self._streak.is_due(IN_A_ROW):
            return None
        evidence = {"step_seconds_before": before, "step_seconds_at": seconds}
        waited = watch.signals.get("data_wait_seconds")
        if waited is not None and 0 <= waited < 1e9:
            evidence["data_wait_seconds_at"] = waited
        return self._finding(
            watch,
            "warning",
            f"A step takes {seconds:.3g} s, and has for {self._streak.count} steps; it used to take {before:.3g} s.",
            onset=self._streak.onset,
            signal="step_seconds",
            value=seconds,
            evidence=evidence,
        )

    def _learn(self, seconds: float) -> None:
        self._usual.push(seconds)
        self._settle()

    def _settle(self) -> None:
        """From how many seconds on a step is slow."""
        self._slow = self.factor * self.strictness * self._usual.median()

    def memory(self) -> State:
        """See `Detector.memory`."""
        return {
            "usual": [*self._usual.values()],
            "streak": self._streak.state_dict(),
            "seen": self._seen,
            "lost": self._lost,
        }

    def load_memory(self, state: Mapping[str, JsonValue]) -> None:
        """See `Detector.load_memory`."""
        usual, seen, lost = numbers_in(state, "usual"), whole_in(state, "seen"), number_in(state, "lost")
        self._streak.load_state_dict(mapping_in(state, "streak"))
        self._usual.fill(usual)
        self._settle()
        self._seen, self._lost = seen, lost
