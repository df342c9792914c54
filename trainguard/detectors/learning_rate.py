"""A learning rate that cannot be meant, or that is not the one that was announced."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, isfinite
from typing import ClassVar

from pydantic import JsonValue

from trainguard.detectors.base import Detector
from trainguard.detectors.snapshot import State, mapping_in, number_in, whole_in
from trainguard.detectors.streak import Streak
from trainguard.detectors.watch import Watch
from trainguard.wire import Finding, FindingKind, Severity

SETTLED = 64
"""Points after which the highest rate so far says what this run's rates are."""
END = 0.02
"""Share of the highest rate from which a schedule may step down to zero."""
STEADY = 1.02
"""A rate that rose by more than this from the last point to this one may be in a warm-up."""
OWN_WAY = 64
"""Points for which a rate that nobody announced may stand still and yet be a schedule of the loop's own."""
SAME = 1.01
"""Rates this much apart are the same rate: float32 on one side, float64 on the other."""


class LearningRate(Detector):
    """Zero, negative, no number, above all that was seen before in one jump, or not what the scheduler says.

    A rate below zero or that is no number is a warning at once; a rate of exactly zero after ``patience`` points,
    because a schedule may touch zero at its ends (where it came down to it step by step, a line is enough); one that
    stands still while ``announced_learning_rate`` says another (what the scheduler last set; the hook sends it with
    ``unannounced_learning_rate``, the rate of that group, where they differ) after ``patience`` points too: somebody
    else writes the rate. If it goes on changing, the loop has a schedule of its own over the scheduler's (a warm-up by
    hand), and nothing is said. A jump to ``jump`` times the highest rate of a run whose rate had settled is worth a
    line (``info``): a second stage may mean it, and where it does harm the loss says so, with this step as its onset.

    `UpdateRatio` is the better choice for a rate that is too high or too low for the model.

    >>> from trainguard.wire import Observation
    >>> detector = LearningRate()
    >>> rates = [1e-3] * 30 + [0.0] * 30
    >>> found = [detector.update(Observation(0, step, 0.0, {"learning_rate": rate})) for step, rate in enumerate(rates)]
    >>> [(finding.step, finding.onset_step, finding.severity) for finding in found if finding]
    [(39, 30, 'warning')]
    """

    name: ClassVar[str] = "learning_rate"
    kind: ClassVar[FindingKind] = "learning_rate"
    needs: ClassVar[str] = "learning_rate"

    def __init__(self, *, sensitivity: str = "normal", patience: float = 10, jump: float = 4.0) -> None:
        super().__init__(sensitivity=sensitivity)
        self.patience = self._threshold("patience", patience)
        self.jump = self._threshold("jump", jump)

    def _reset(self) -> None:
        self._senseless = Streak()
        self._zero = Streak()
        self._foreign = Streak()
        self._own_way = Streak(calm_after=OWN_WAY)
        self._unannounced = 0.0
        self._highest = 0.0
        self._last = 0.0
        self._settled = 0

    def judge(self, watch: Watch) -> Finding | None:
        """See `Detector.judge`."""
        rate = watch.signals.get("learning_rate")
        if rate is None:
            return None
        if watch.resumed:
            for streak in (self._senseless, self._zero, self._foreign, self._own_way):
                streak.reset()
            self._settled = 0
        is_sane = 0 <= rate < inf
        if not is_sane or self._senseless.count:
            self._senseless.add(watch.step, not is_sane)
            if self._senseless.is_due(1):
                return self._report(watch, self._senseless, rate, f"The learning rate is {rate:.6g}.")
        if not is_sane:
            return None
        if rate == 0 or self._zero.count:
            self._zero.add(watch.step, rate == 0)
            if self._zero.is_due(self.patience):
                many = f"The learning rate has been exactly 0 for {self._zero.count} points: nothing is learnt."
                # A schedule that has run down to its end was announced; the steps beyond it are only wasted.
                is_end = 0 < self._last < END * self._highest
                return self._report(watch, self._zero, rate, many, severity="info" if is_end else "warning")
            return None
        announced = watch.signals.get("announced_learning_rate")
        if announced is not None or self._foreign.count or self._own_way.count:
            finding = self._compare(watch, rate, announced)
            if finding is not None:
                return finding
        if rate <= STEADY * self._last and rate <= self._highest:
            self._last = rate
            self._settled += 1
            return None
        return self._judge_jump(watch, rate)

    def _compare(self, watch: Watch, rate: float, announced: float | None) -> Finding | None:
        found = watch.signals.get("unannounced_learning_rate")
        differs = announced is not None
        if found is not None and isfinite(found):
            rate = found  # who compared them did it to the last digit
        else:
            differs = announced is not None and not (rate <= SAME * announced and announced <= SAME * rate)
        before, self._unannounced = self._unannounced, rate if differs else 0.0
        self._own_way.add(watch.step, differs and before not in (0.0, rate))
        self._foreign.add(watch.step, differs and not self._own_way.count)
        if announced is None or not self._foreign.is_due(self.patience):
            return None
        sentence = (
            f"The learning rate is {rate:.6g} where the scheduler says {announced:.6g}: something else writes the rate."
        )
        return self._report(watch, self._foreign, rate, sentence, announced_learning_rate=announced)

    def _judge_jump(self, watch: Watch, rate: float) -> Finding | None:
        last, self._last = self._last, rate
        highest = self._highest
        if rate > highest:
            self._highest = rate
        if rate <= STEADY * last:
            self._settled += 1
            return None
        settled, self._settled = self._settled, 0
        if settled < SETTLED or rate < self.jump * highest or watch.grace:
            return None
        return self._finding(
            watch,
            "info",
            f"The learning rate jumped to {rate:.4g}; until now it had never been above {highest:.4g}.",
            signal="learning_rate",
            value=rate,
            evidence={"learning_rate_before": last, "learning_rate_at": rate},
        )

    def _report(
        self,
        watch: Watch,
        streak: Streak,
        rate: float,
        sentence: str,
        *,
        severity: Severity = "warning",
        **evidence: float,
    ) -> Finding:
        return self._finding(
            watch,
            severity,
            sentence,
            onset=streak.onset,
            signal="learning_rate",
            value=rate,
            evidence={name: value for name, value in evidence.items() if isfinite(value)},
        )

    def memory(self) -> State:
        """See `Detector.memory`."""
        return {
            "senseless": self._senseless.state_dict(),
            "zero": self._zero.state_dict(),
            "foreign": {
                **self._foreign.state_dict(),
                "own_way": self._own_way.state_dict(),
                "unannounced": self._unannounced,
            },
            "highest": self._highest,
            "last": self._last,
            "settled": self._settled,
        }

    def load_memory(self, state: Mapping[str, JsonValue]) -> None:
        """See `Detector.load_memory`."""
        highest, last, settled = number_in(state, "highest"), number_in(state, "last"), whole_in(state, "settled")
        self._senseless.load_state_dict(mapping_in(state, "senseless"))
        self._zero.load_state_dict(mapping_in(state, "zero"))
        foreign = mapping_in(state, "foreign")
        self._foreign.load_state_dict(foreign)
        # These came later: a state of before has none of them.
        self._own_way.reset()
        if "own_way" in foreign:
            self._own_way.load_state_dict(mapping_in(foreign, "own_way"))
        self._unannounced = number_in(foreign, "unannounced") if "unannounced" in foreign else 0.0
        self._highest, self._last, self._settled = highest, last, settled
