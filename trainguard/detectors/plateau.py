"""The loss has stopped getting better long before it is good."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import ClassVar

from pydantic import JsonValue

from trainguard.detectors.base import Detector
from trainguard.detectors.course import Course
from trainguard.detectors.drift import kendall_tau
from trainguard.detectors.snapshot import State, mapping_in, numbers_in, optional_number_in
from trainguard.detectors.watch import Watch
from trainguard.wire import Finding, FindingKind, Severity

EARLY = (4, 16)
"""The points whose median is the early level: after the jump from the initial weights, before much is learnt."""
LARGEST = 1e290
"""Values are clamped here, so that sums of them stay finite."""
STILL_FALLING = -0.5
"""Mann-Kendall's tau of a loss that still falls, however slowly."""
FALLING_AGAIN = 3.0
"""A plateau has ended when the loss fell by this many times what still counts as flat."""


class Plateau(Detector):
    """The last quarter of the run so far is no better than the second, and no trend leads down.

    A share of the run, not a number of steps, because ten thousand steps are long for a fine-tuning and short
    for a pre-training. What that means depends on whether anything was learnt: a loss still near its early level
    (a classifier at chance, a rate too low, labels that do not belong) is a warning; one that had fallen is
    worth a line (``info``), because many runs end exactly so.

    ``patience``: points before the first word. ``flat``: share of the level by which it must have fallen in half
    a run. ``learnt``: share of its early level below which a run has learnt something. ``low`` and ``high``
    sensitivity wait longer and shorter.

    `Divergence` is the better choice for a loss that rises.

    >>> from trainguard.wire import Observation
    >>> plateau = Plateau()
    >>> losses = [0.693 + 0.01 * (step * 7 % 5) for step in range(600)]
    >>> found = [plateau.update(Observation(0, step, 0.0, {"loss": loss})) for step, loss in enumerate(losses)]
    >>> [(finding.step, finding.onset_step, finding.severity) for finding in found if finding]
    [(399, 96, 'warning')]
    """

    name: ClassVar[str] = "plateau"
    kind: ClassVar[FindingKind] = "plateau"

    def __init__(
        self, *, sensitivity: str = "normal", patience: float = 400, flat: float = 0.01, learnt: float = 0.9
    ) -> None:
        super().__init__(sensitivity=sensitivity)
        self.patience = self._threshold("patience", patience)
        self.flat = self._threshold("flat", flat)
        self.learnt = self._threshold("learnt", learnt)

    def _reset(self) -> None:
        self._course = Course()
        self._first: list[float] = []
        self._early: float | None = None
        self._level: float | None = None

    def judge(self, watch: Watch) -> Finding | None:
        """See `Detector.judge`."""
        if watch.resumed:
            # A branch was left or the process began anew; what the run had learnt before still holds.
            self._course.reset()
        if not watch.loss_seen or watch.loss_value is None:
            return None
        loss = min(max(watch.loss_value, -LARGEST), LARGEST)
        if self._early is None:
            self._first.append(loss)
            if len(self._first) == EARLY[1]:
                self._early = median(self._first[EARLY[0] :])
                self._first.clear()
        if not self._course.add(watch.step, loss) or self._early is None:
            return None
        return self._compare(watch, self._early)

    def _compare(self, watch: Watch, early: float) -> Finding | None:
        blocks, steps = self._course.blocks, self._course.steps
        quarter = len(blocks) // 4
        if self._course.points < self.patience * self.strictness or not quarter:
            return None
        before, now = median(blocks[quarter : 2 * quarter]), median(blocks[-quarter:])
        still = self.flat * abs(before)
        if self._level is not None and now < self._level - FALLING_AGAIN * self.flat * abs(self._level):
            self._level = None
        if self._level is not None or abs(before - now) >= still or kendall_tau(blocks[quarter:]) <= STILL_FALLING:
            return None
        self._level = now
        has_learnt = now < early - (1 - self.learnt) * abs(early)
        severity: Severity = "info" if has_learnt else "warning"
        words = "has stopped falling" if has_learnt else f"has hardly left its early level of {early:.4g}"
        return self._finding(
            watch,
            severity,
            f"The loss {words}: it was {before:.4g} around step {steps[quarter]} and is {now:.4g} now.",
            onset=steps[quarter],
            value=watch.loss_value,
            evidence={"loss_before": now, "early_loss": early, "points": float(self._course.points)},
        )

    def memory(self) -> State:
        """See `Detector.memory`."""
        return {
            "course": self._course.state_dict(),
            "first": list(self._first),
            "early": self._early,
            "level": self._level,
        }

    def load_memory(self, state: Mapping[str, JsonValue]) -> None:
        """See `Detector.load_memory`."""
        first, early, level = (
            numbers_in(state, "first"),
            optional_number_in(state, "early"),
            optional_number_in(state, "level"),
        )
        self._course.load_state_dict(mapping_in(state, "course"))
        self._first, self._early, self._level = first, early, level
