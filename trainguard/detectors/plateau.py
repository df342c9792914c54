"""The loss has stopped getting better long before it is good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import log
from typing import ClassVar

from pydantic import JsonValue

from trainguard.detectors.base import Detector
from trainguard.detectors.course import Course
from trainguard.detectors.drift import kendall_tau
from trainguard.detectors.snapshot import State, flag_in, mapping_in, numbers_in, optional_number_in
from trainguard.detectors.watch import Watch
from trainguard.detectors.window import median_of
from trainguard.wire import Finding, FindingKind, Severity

EARLY = (4, 16)
"""The points whose median is the early level: after the jump from the initial weights, before much is learnt."""
LARGEST = 1e290
"""Values are clamped here, so that sums of them stay finite."""
STILL_FALLING = -0.5
"""Mann-Kendall's tau of a loss that still falls, however slowly."""
CHANCES = (2, 3, 4, 10, 100, 1000)
"""Numbers of classes whose logarithm is what guessing costs: a loss that sits there has learnt nothing but that."""
NEAR_CHANCE = 0.035
LONG = 1
"""Times ``patience`` from which on a loss that sits at chance counts as stuck, however high it began."""
EARLIEST = 0.5
SURE = 3.0
"""Standard errors that must fit into what still counts as flat."""
FALLING_AGAIN = 3.0
"""A plateau has ended when the loss fell by this many times what still counts as flat."""


class Plateau(Detector):
    """The last quarter of the run so far is no better than the second, and no trend leads down.

    A share of the run, not a number of steps, because ten thousand steps are long for a fine-tuning and short
    for a pre-training. What that means depends on whether anything was learnt: a loss still near its early level
    (a classifier at chance, a rate too low, labels that do not belong) is a warning; one that had fallen is
    worth a line (``info``), because many runs end exactly so.

    A head that begins with a loss of 4 and falls at once to ln 2 has learnt nothing but to guess: a level within a
    thirtieth of the logarithm of 2, 3, 4, 10, 100 or 1,000 classes, flat since the first eighth of the run and after
    twice the ``patience``, is a warning too.

    ``patience``: points before the first word. ``flat``: share of the level by which it must have fallen in half
    a run. ``learnt``: share of its early level below which a run has learnt something. ``low`` and ``high``
    sensitivity wait longer and shorter.

    `Divergence` is the better choice for a loss that rises.

    >>> from trainguard.wire import Observation
    >>> plateau = Plateau()
    >>> losses = [0.693 + 0.01 * (step * 7 % 5) for step in range(600)]
    >>> found = [plateau.update(Observation(0, step, 0.0, {"loss": loss})) for step, loss in enumerate(losses)]
    >>> [(finding.step, finding.onset_step, finding.severity) for finding in found if finding]
    [(487, 120, 'warning')]
    """

    name: ClassVar[str] = "plateau"
    kind: ClassVar[FindingKind] = "plateau"

    def __init__(
        self, *, sensitivity: str = "normal", patience: float = 800, flat: float = 0.01, learnt: float = 0.9
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
        self._is_told = False

    def judge(self, watch: Watch) -> Finding | None:
        """See `Detector.judge`."""
        if watch.resumed:
            # A branch was left or the process began anew; what the run had learnt before still holds.
            self._course.reset()
        loss = watch.loss_value
        if loss is None or not watch.loss_seen:
            return None
        if not -LARGEST <= loss <= LARGEST:
            loss = LARGEST if loss > 0 else -LARGEST
        if self._early is None:
            self._first.append(loss)
            if len(self._first) == EARLY[1]:
                self._early = median_of(self._first[EARLY[0] :])
                self._first.clear()
        elif watch.loss.rebased:
            # Other data, another level: what counts as learnt moves with it.
            self._early += watch.loss.center - watch.loss.former_center
        if not self._course.add(watch.step, loss) or self._early is None:
            return None
        return self._compare(watch, self._early)

    def _compare(self, watch: Watch, early: float) -> Finding | None:
        blocks, steps = self._course.blocks, self._course.steps
        quarter = len(blocks) // 4
        if not quarter or self._course.points < self._patience_for(blocks[quarter:]):
            return None
        before, now = median_of(blocks[quarter : 2 * quarter]), median_of(blocks[-quarter:])
        still = self.flat * abs(before)
        if self._level is not None and now < self._level - FALLING_AGAIN * self.flat * abs(self._level):
            self._level = None
            self._is_told = False
        if self._is_told or abs(before - now) >= still or kendall_tau(blocks[quarter:]) <= STILL_FALLING:
            return None
        has_learnt = now < early - (1 - self.learnt) * abs(early)
        is_at_chance = self._sits_at_chance(now, still)
        severity: Severity = "info"
        words = "has stopped falling"
        if is_at_chance:
            severity, words = "warning", "sits at what guessing costs, and has almost from the start"
        elif not has_learnt and now <= early + (1 - self.learnt) * abs(early):
            severity, words = "warning", f"has hardly left its early level of {early:.4g}"
        if self._level is not None and (self._is_told or severity == "info"):
            return None
        self._level = now
        self._is_told = severity == "warning"
        return self._finding(
            watch,
            severity,
            f"The loss {words}: it was {before:.4g} around step {steps[quarter]} and is {now:.4g} now.",
            onset=steps[quarter],
            value=watch.loss_value,
            evidence={"loss_before": now, "early_loss": early, "points": float(self._course.points)},
        )

    def _patience_for(self, blocks: Sequence[float]) -> float:
        """Points before the first word: half where the noise is so small that flat is seen to be flat by then."""
        if self._course.points < EARLIEST * self.patience * self.strictness:
            return self.patience * self.strictness
        noise = 1.4826 * median_of(abs(after - before) for before, after in pairwise(blocks)) / 2**0.5
        # The standard error of the difference of two medians over a third of these blocks each.
        error = 1.25 * noise * (2 * 3 / len(blocks)) ** 0.5
        is_plain = SURE * error <= self.flat * abs(median_of(blocks))
        return (EARLIEST if is_plain else 1.0) * self.patience * self.strictness

    def _sits_at_chance(self, now: float, still: float) -> bool:
        """Whether the loss fell to the logarithm of a number of classes in the first eighth, and there it has been."""
        blocks = self._course.blocks
        eighth = len(blocks) // 8
        if self._course.points < LONG * self.patience * self.strictness or not eighth:
            return False
        if all(abs(now - log(classes)) > NEAR_CHANCE * log(classes) for classes in CHANCES):
            return False
        start = median_of(blocks[eighth : 2 * eighth])
        return abs(start - now) < 2 * still

    def memory(self) -> State:
        """See `Detector.memory`."""
        return {
            "course": self._course.state_dict(),
            "first": list(self._first),
            "early": self._early,
            "level": self._level,
            "is_told": self._is_told,
        }

    def load_memory(self, state: Mapping[str, JsonValue]) -> None:
        """See `Detector.load_memory`."""
        first, early, level = (
            numbers_in(state, "first"),
            optional_number_in(state, "early"),
            optional_number_in(state, "level"),
        )
        self._course.load_state_dict(mapping_in(state, "course"))
        # A state of before this field was there told every level that it kept.
        self._is_told = flag_in(state, "is_told")
        self._first, self._early, self._level = first, early, level
