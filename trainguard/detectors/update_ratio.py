"""The step's change is out of proportion to the parameters."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import ClassVar

from pydantic import JsonValue

from trainguard.detectors.base import Detector
from trainguard.detectors.snapshot import State, flag_in, mapping_in, number_in, numbers_in, whole_in
from trainguard.detectors.streak import Streak
from trainguard.detectors.watch import Watch
from trainguard.detectors.window import SlidingMedian
from trainguard.wire import Finding, FindingKind

SAMPLE_EVERY = 4
WINDOW = 64
KNOWN = 12
"""Samples from which on the usual ratio is known."""
REBASE_AFTER = 128
"""Points out of the band after which they are how this run is."""
WARMED_UP = 100
"""Points after which a run whose ratio does not grow is no longer warming up."""
GROWING = 3.0
LARGEST = 1e200
SMALLEST = 1e-200


class UpdateRatio(Detector):
    """The norm of the update over that of the parameters, against its own past and against what any model bears.

    About 1e-3 is healthy (Karpathy's rule of thumb), but warm-up, schedule and optimizer move it over two decades, so
    the ratio is judged *per applied rate*: ``rise`` times its usual value, or a ``fall``-th of it, for ``patience``
    points is a warning that the rate does not explain: moments that were lost or are out of date, a clipping
    that was switched off, a scale. Besides, whatever the rate: a change of more than ``largest`` of the parameters at
    each step destroys what was learnt; and where it has never reached ``smallest`` after 100 points and is not
    growing, the rate is too low to learn anything.

    `LearningRate` is the better choice for what the schedule does, `NoUpdate` for exactly nothing.

    >>> from trainguard.wire import Observation
    >>> detector = UpdateRatio()
    >>> ratios = [1e-3] * 80 + [5e-2] * 20
    >>> found = [detector.update(Observation(0, step, 0.0, {"update_ratio": one})) for step, one in enumerate(ratios)]
    >>> [(finding.step, finding.onset_step) for finding in found if finding]
    [(87, 80)]
    """

    name: ClassVar[str] = "update_ratio"
    kind: ClassVar[FindingKind] = "update_ratio"
    needs: ClassVar[str] = "update_ratio"

    def __init__(
        self,
        *,
        sensitivity: str = "normal",
        rise: float = 15.0,
        fall: float = 100.0,
        patience: float = 8,
        largest: float = 0.3,
        smallest: float = 1e-6,
    ) -> None:
        super().__init__(sensitivity=sensitivity)
        self.rise = self._threshold("rise", rise)
        self.fall = self._threshold("fall", fall)
        self.patience = self._threshold("patience", patience)
        self.largest = self._threshold("largest", largest)
        self.smallest = self._threshold("smallest", smallest)

    def _reset(self) -> None:
        self._usual = SlidingMedian(WINDOW)
        self._lowest = self._highest = 0.0
        self._apart = Streak()
        self._huge = Streak()
        self._seen = 0
        self._has_rate = False
        self._best = 0.0
        self._early = 0.0

    def judge(self, watch: Watch) -> Finding | None:
        """See `Detector.judge`."""
        ratio = watch.signals.get("update_ratio")
        if watch.resumed:
            self._apart.reset()
            self._huge.reset()
        if ratio is None or not 0 < ratio < inf:
            return None
        seen = self._seen = self._seen + 1
        if ratio > self.largest or self._huge.count:
            self._huge.add(watch.step, ratio > self.largest)
            if seen > 2 * KNOWN and self._huge.is_due(2 * self.patience * self.strictness):
                return self._report(
                    watch, ratio, self._huge.onset, f"Each step changes the parameters by {ratio:.2g} of their size."
                )
        if seen <= WARMED_UP and (ratio > self._best or seen % (WARMED_UP // 4) == 0):
            finding = self._judge_beginning(watch, ratio)
            if finding is not None:
                return finding
        rate = watch.rate
        if rate is None:
            # A rate that is missing now and then says nothing; one that was never there is taken for constant.
            return None if self._has_rate else self._judge_apart(watch, ratio, ratio)
        self._has_rate = True
        if rate <= 0:
            return None
        unit = ratio / rate
        if seen % SAMPLE_EVERY and 0 < self._lowest <= unit <= self._highest and not self._apart.count:
            # The usual case: nothing to learn from it and nothing to say.
            return None
        return self._judge_apart(watch, ratio, unit)

    def _judge_beginning(self, watch: Watch, ratio: float) -> Finding | None:
        self._best = max(self._best, ratio)
        if self._seen == WARMED_UP // 4:
            self._early = ratio
        if self._seen < WARMED_UP or self._best >= self.smallest / self.strictness or ratio > GROWING * self._early:
            return None
        sentence = f"Each step changes the parameters by {ratio:.2g} of their size, and has never done more than "
        return self._report(watch, ratio, watch.step, f"{sentence}{self._best:.2g}: too little to learn anything.")

    def _judge_apart(self, watch: Watch, ratio: float, unit: float) -> Finding | None:
        if not self._lowest or self._lowest <= unit <= self._highest:
            if self._seen % SAMPLE_EVERY == 0:
                self._usual.push(unit if unit < LARGEST else LARGEST)
                self._settle()
                if self._lowest and not self._lowest <= unit <= self._highest:
                    return self._judge_out_of_band(watch, ratio, unit)
            if self._apart.count:
                self._apart.add(watch.step, False)
            return None
        return self._judge_out_of_band(watch, ratio, unit)

    def _judge_out_of_band(self, watch: Watch, ratio: float, unit: float) -> Finding | None:
        if watch.grace:
            return None
        self._apart.add(watch.step, True)
        if self._apart.count >= REBASE_AFTER:
            self._usual.fill([min(unit, LARGEST)] * KNOWN)
            self._settle()
        if not self._apart.is_due(self.patience * self.strictness):
            return None
        has_risen, usual = unit > self._highest, max(self._usual.median(), SMALLEST)
        words = "risen" if has_risen else "fallen"
        factor = unit / usual if has_risen else usual / unit
        return self._report(
            watch,
            ratio,
            self._apart.onset,
            f"The update ratio has {words} to {ratio:.2g}, {factor:.3g} times more than the learning rate explains.",
        )

    def _settle(self) -> None:
        """The band that the ratio per rate may move in; nothing while too little is known."""
        ordered = self._usual.ordered
        if len(ordered) < KNOWN:
            self._lowest = self._highest = 0.0
            return
        usual = self._usual.median()
        if usual < SMALLEST:
            usual = SMALLEST
        self._lowest = usual / (self.fall * self.strictness)
        self._highest = usual * max(self.rise * self.strictness, 1.001)

    def _report(self, watch: Watch, ratio: float, onset: int, sentence: str) -> Finding:
        return self._finding(watch, "warning", sentence, onset=onset, signal="update_ratio", value=ratio)

    def memory(self) -> State:
        """See `Detector.memory`."""
        return {
            "usual": [*self._usual.values()],
            "apart": self._apart.state_dict(),
            "huge": self._huge.state_dict(),
            "seen": self._seen,
            "has_rate": self._has_rate,
            "best": self._best,
            "early": self._early,
        }

    def load_memory(self, state: Mapping[str, JsonValue]) -> None:
        """See `Detector.load_memory`."""
        usual, seen = numbers_in(state, "usual"), whole_in(state, "seen")
        best, early, has_rate = number_in(state, "best"), number_in(state, "early"), flag_in(state, "has_rate")
        self._apart.load_state_dict(mapping_in(state, "apart"))
        self._huge.load_state_dict(mapping_in(state, "huge"))
        self._usual.fill(usual)
        self._settle()
        self._seen, self._best, self._early, self._has_rate = seen, best, early, has_rate
