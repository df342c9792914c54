"""The loss goes up and does not come back: at once, or so slowly that no single point betrays it."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from math import sqrt
from statistics import median
from typing import ClassVar

from pydantic import JsonValue

from trainguard.detectors.base import Detector
from trainguard.detectors.cycle import LossByRate
from trainguard.detectors.drift import BlockTrend
from trainguard.detectors.snapshot import (
    State,
    flag_in,
    list_in,
    mapping_in,
    number_in,
    numbers_in,
    optional_number_in,
    text_in,
    whole_in,
)
from trainguard.detectors.watch import Watch
from trainguard.wire import Finding, FindingKind, Severity

RUNAWAY_POINTS = 3
"""So many points in a row, three times the level and rising, need no further patience."""
RUNAWAY_FACTOR = 3.0
NEWEST = 5
"""Points whose median says where the loss is now."""
COMING_BACK = 0.35
"""An excursion of which less than this share is left is healing, not diverging."""
BLOCKS = (8, 24, 64)
"""Points per block of the fast trend, of the slow one, and of one between them."""
LEAST_SHIFT = 0.1
"""Share of the level below which a rise of many bands alone is not critical."""
OVER_WANDER = 1.3
RATE_JUMP = 3.0
"""Times the highest rate so far that a rate must reach in one step to be taken for the cause of what follows."""
SETTLED_RATE = 64
RESTART = 64
"""Points that a run is given after a warm restart (Loshchilov and Hutter 2017), in which its loss goes up and turns."""
SAME_RATE = 1.001
JUMP_PATIENCE = 15
JUMP_WATCHED = 48
JUMP_NEWEST = 15
JUMP_BANDS = 1.5
JUMP_RISE = 0.03
STEEP = 0.6
"""Share of the best level from which on the newest three blocks tell enough."""
PLAIN = 1.2
"""Times what a rise must exceed its noise by anyway, for a long block fewer."""
YOUNG = 256
"""Points before which a run must have learnt something for its loss to drift up from there."""
YOUNG_BLOCKS = 11
EXPLOSION = 30.0
"""Bands above the level that no noise reaches."""
AFTERMATH = 96
LEARNT = 0.1
RISEN = 0.25
"""Share of the run's first level by which its best one may lie above it and still be a level to drift from."""
MONOTONE = 0.6
LEAST_MONOTONE = 0.35
OVER_CHANCE = 2.6
"""Times what Mann-Kendall's tau scatters by where there is no trend."""
LARGEST = 1e300
"""Values are clamped here, so that sums of them stay finite."""
OWN_RISE = 0.5
"""Share of a trend's rise that the level must have made before the excursion for it to be a drift."""
BEYOND_NOISE = 1000.0
"""Times its noise: no need to tell more."""
GRAVE = 0.2
"""Share of the best level above which a drift, or of the former one above which a shift, is critical."""
SURE = 9.0
"""Times its noise that a drift must have risen to be critical. A small regression at a constant rate, whose loss
scatters by a fifth, rises by six to eight times it and comes back by itself, about once in ten thousand steps.
"""


class Divergence(Detector):
    """Level shift and trend, each told once, and once more when it becomes critical.

    *Sudden*: the loss left its band and after ``patience`` points its newest median is still half again as high
    as before, or ``z`` bands above, and not on its way back: critical. Growth through all bounds (three points,
    each higher, beyond three times the level) is critical at once. A smaller rise that lasts until the
    baseline adopts the new level is a warning: a change of data does that too.

    *Slow*: medians of blocks rise over their best stretch (`drift.BlockTrend`; Mann-Kendall, Mann 1945): a
    warning from ``drift`` of the level on, critical from a fifth on where that is far beyond noise. What came and went
    before must be exceeded, and a loss that has only ever risen has no level to drift from. Where a jump has spoiled a
    block, the jump is the onset.

    A warm restart is no drift: where the rate jumps to what the run has borne before, and the scheduler, if there is
    one, says the same, the trends begin anew behind it.

    Nor is a rise of a cyclical schedule to where the loss was at that rate the cycle before (`cycle.LossByRate`).

    *With a cause*: where the applied rate jumped to three times all it had ever been, one and a half bands and three
    hundredths of the level for fifteen points are enough to be critical, and the jump is the onset.

    `LossSpike` is the better choice for the first word on a jump; this one waits to see whether it heals.

    >>> from trainguard.wire import Observation
    >>> divergence = Divergence()
    >>> losses = [2.0 + 0.05 * (step % 4) for step in range(60)] + [4.0 + 0.02 * (step % 3) for step in range(20)]
    >>> found = [divergence.update(Observation(0, step, 0.0, {"loss": loss})) for step, loss in enumerate(losses)]
    >>> [(finding.step, finding.onset_step, finding.severity) for finding in found if finding]
    [(65, 60, 'critical')]
    """

    name: ClassVar[str] = "divergence"
    kind: ClassVar[FindingKind] = "divergence"

    def __init__(
        self,
        *,
        sensitivity: str = "normal",
        patience: float = 6,
        z: float = 12.0,
        factor: float = 1.5,
        drift: float = 0.08,
        drift_z: float = 6.0,
    ) -> None:
        """``factor`` is the rise, over a level's own size, that needs no great z; ``drift`` is a share of the best
        level, ``drift_z`` the same rise in the scatter of block medians."""
        self._trends = tuple(BlockTrend(block=size) for size in BLOCKS)
        self._by_rate = LossByRate()
        super().__init__(sensitivity=sensitivity)
        self.patience = self._threshold("patience", patience)
        self.z = self._threshold("z", z)
        self.factor = self._threshold("factor", factor)
        self.drift = self._threshold("drift", drift)
        self.drift_z = self._threshold("drift_z", drift_z)

    def _reset(self) -> None:
        self._judged = 0
        self._exploded = -AFTERMATH
        self._highest_rate = 0.0
        self._rate = 0.0
        self._restarted = -RESTART
        self._by_rate.reset()
        self._forget_jump()
        self._begin_trends()
        self._end_excursion()

    def _forget_jump(self) -> None:
        self._jump: tuple[float, float, float, float] | None = None
        self._after_jump: deque[float] = deque(maxlen=JUMP_NEWEST)
        self._since_jump = 0

    def _begin_trends(self) -> None:
        """A jump that was told is no drift as well: the trends begin anew on the level it led to."""
        for trend in self._trends:
            trend.reset()
        self._drifting = ""
        self._early: float | None = None

    def _end_excursion(self) -> None:
        self._told = False
        self._above: deque[float] = deque(maxlen=NEWEST)
        self._peak = 0.0
        self._rising = 0
        self._onset = 0
        self._points = 0

    def judge(self, watch: Watch) -> Finding | None:
        """See `Detector.judge`."""
        if watch.resumed:
            self._end_excursion()
            self._forget_jump()
            self._drifting = ""
            for trend in self._trends:
                trend.rewind(watch.step)
            self._by_rate.rewind(watch.step)
        loss, base = watch.loss_value, watch.loss
        if loss is None or not watch.loss_seen:
            return None
        sudden = None
        if self._points or base.rebased or not base.calm:
            sudden = self._judge_excursion(watch, loss)
        caused, rate = None, watch.rate
        if rate is not None:
            if rate > RATE_JUMP * self._rate and self._is_warm_restart(watch, rate):
                self._begin_trends()
                self._restarted = self._judged
            self._rate = rate
        slow = self._judge_drift(watch, loss)
        if rate is not None and (rate > self._highest_rate or self._jump is not None):
            caused = self._judge_after_jump(watch, loss, rate)
        return sudden or slow or caused

    def _is_warm_restart(self, watch: Watch, rate: float) -> bool:
        """Whether the run has borne such a rate before, and no scheduler says another: the hook tells only then."""
        return rate <= SAME_RATE * self._highest_rate and "announced_learning_rate" not in watch.signals

    def _judge_excursion(self, watch: Watch, loss: float) -> Finding | None:
        base = watch.loss
        if base.rebased:
            return self._judge_shift(watch)
        if base.calm:
            if self._points:
                self._end_excursion()
            return None
        if not self._points:
            self._onset = watch.onset()
        self._points += 1
        rise = base.rise
        self._above.append(loss)
        self._rising = self._rising + 1 if rise > self._peak and base.z > self.z * self.strictness else 0
        self._peak = max(self._peak, rise)
        if self._told or watch.grace:
            return None
        size = abs(base.center)
        if self._rising >= RUNAWAY_POINTS and rise > (RUNAWAY_FACTOR - 1) * size:
            return self._tell(watch, "and is growing through all bounds")
        if self._points < self.patience * self.strictness:
            return None
        now = median(self._above) - base.center
        band = max(base.band, 0.5 * base.long_band)
        is_high = now > (self.factor - 1) * size or now > max(self.z * self.strictness * band, LEAST_SHIFT * size)
        if not is_high or now < 4 * max(base.band, base.long_band) or now < COMING_BACK * self._peak:
            return None
        return self._tell(watch, f"and has not come back for {self._points} points")

    def _judge_shift(self, watch: Watch) -> Finding | None:
        told, onset = self._told, self._onset
        before, now = watch.loss.former_center, watch.loss.center
        self._end_excursion()
        rise = now - before
        if told or self._drifting == "critical" or rise < 0.05 * abs(before):
            return None
        self._begin_trends()
        severity = self._severity(rise > GRAVE * abs(before))
        return self._finding(
            watch,
            severity,
            f"The loss moved from a level of {before:.4g} to one of {now:.4g} and stays there.",
            onset=onset,
            value=watch.loss_value,
            evidence={"loss_before": before, "loss_now": now},
        )

    def _tell(self, watch: Watch, words: str) -> Finding:
        self._told = True
        self._begin_trends()
        base = watch.loss
        return self._finding(
            watch,
            "critical",
            f"The loss rose from a level of {base.center:.4g} to {median(self._above):.4g} {words}.",
            onset=self._onset,
            value=watch.loss_value,
            evidence={"loss_before": base.center, "loss_band": base.band, "z": base.z},
        )

    def _judge_after_jump(self, watch: Watch, loss: float, rate: float) -> Finding | None:
        """A rise too small to be told without a cause, where the rate had just jumped above all it had ever been."""
        highest = self._highest_rate
        self._highest_rate = max(highest, rate)
        if 0 < RATE_JUMP * highest <= rate and self._judged >= SETTLED_RATE and watch.loss.ready:
            self._jump = (
                watch.step,
                rate / highest,
                watch.loss.center,
                max(watch.loss.band, 0.5 * watch.loss.long_band),
            )
            self._after_jump.clear()
            self._since_jump = 0
        if self._jump is None:
            return None
        self._since_jump += 1
        self._after_jump.append(loss)
        step, factor, level, band = self._jump
        if self._since_jump > JUMP_WATCHED or self._told or self._drifting == "critical":
            self._jump = None
            return None
        now = median(self._after_jump)
        if self._since_jump < JUMP_PATIENCE or now < level + max(JUMP_BANDS * band, JUMP_RISE * abs(level)):
            return None
        self._jump = None
        self._drifting = "critical"
        return self._finding(
            watch,
            "critical",
            f"The loss is at {now:.4g} instead of {level:.4g} since the learning rate jumped at step {int(step)}, "
            f"to {factor:.3g} times the highest it had been.",
            onset=int(step),
            value=watch.loss_value,
            evidence={"loss_before": level, "loss_band": band, "rate_factor": factor},
        )

    def _judge_drift(self, watch: Watch, loss: float) -> Finding | None:
        self._judged += 1
        if watch.loss.z > EXPLOSION:
            self._exploded = self._judged
        if not -LARGEST <= loss <= LARGEST:
            loss = LARGEST if loss > 0 else -LARGEST
        if self._judged - self._restarted <= RESTART:
            return None
        found: Finding | None = None
        for trend in self._trends:
            opened = trend.opened
            opened.append(loss)
            if len(opened) < trend.block:
                continue
            is_enough = trend.complete(watch.step)
            if trend is self._trends[0] and watch.rate is not None:
                self._by_rate.add(watch.step, watch.rate, trend.newest)
            if is_enough and found is None:
                found = self._judge_trend(watch, trend)
        return found

    def _judge_trend(self, watch: Watch, trend: BlockTrend) -> Finding | None:
        if self._early is None:
            self._early = trend.first
        size = abs(trend.best)
        if self._drifting and all(one.rise < 0.5 * self.drift * abs(one.best) for one in self._trends):
            self._drifting = ""
        is_drift = (
            trend.rise > self.drift * size
            and trend.rise > OVER_WANDER * trend.wander
            and self._has_been_down(trend)
            and trend.rise > self.drift_z * self.strictness * trend.scatter
            and self._has_lasted(trend, size)
            and trend.trend >= _monotone(trend.since)
            and not self._is_of_the_cycle(watch, trend, size)
        )
        if not is_drift:
            return None
        over_noise = min(trend.rise / trend.unrest, BEYOND_NOISE) if trend.unrest else BEYOND_NOISE
        severity = self._severity(trend.rise > GRAVE * size and over_noise > SURE * self.strictness)
        if self._drifting in ("critical", severity):
            return None
        self._drifting = severity
        words = f"has been drifting up from {trend.best:.4g} since step {trend.best_step}, by {trend.rise:.3g} so far"
        onset = trend.best_step
        if self._points and watch.loss.center - trend.best < OWN_RISE * trend.rise:
            # Half a block after a jump is enough for its median: the loss left its level at once, and the block's
            # first step is not where. An onset too early takes a passing trouble for a slow one.
            words = f"rose from a level of {trend.best:.4g} by {trend.rise:.3g} and has not come back"
            onset = self._onset
        return self._finding(
            watch,
            severity,
            f"The loss {words}.",
            onset=onset,
            value=watch.loss_value,
            evidence={
                "loss_before": trend.best,
                "loss_band": trend.scatter,
                "drift": trend.rise,
                "drift_over_noise": over_noise,
            },
        )

    def _severity(self, is_grave: bool) -> Severity:
        """A young run (a GAN finding its balance) wanders by a tenth or two; a remedy would do more harm."""
        if is_grave:
            return "critical"
        return "info" if self._is_young else "warning"

    @property
    def _is_young(self) -> bool:
        """Too young for its level to mean much; but after a plain explosion, what does not come back is no youth."""
        return self._judged < YOUNG and self._judged - self._exploded > AFTERMATH

    def _is_of_the_cycle(self, watch: Watch, trend: BlockTrend, size: float) -> bool:
        """Whether the loss is where it was the last time that the rate was as high as it is now.

        In a cyclical schedule it goes up and down with the rate. What rises further than that, or by more than half of
        the best level again, is a drift in any schedule; so is a rise on the first way up.
        """
        if (
            watch.rate is None
            or trend.rise > STEEP * size
            or not self._by_rate.was_lower_at(trend.best_step, watch.rate)
        ):
            return False
        before = self._by_rate.before(watch.rate, trend.best_step)
        return before is not None and trend.best + trend.rise < before + self.drift * size + 3 * trend.scatter

    def _has_lasted(self, trend: BlockTrend, size: float) -> bool:
        needed = self._blocks_needed(trend.rise, size)
        if trend.since >= needed:
            return True
        # A block of the slow trend is long: one fewer will do where each lies above the one before, and by much.
        is_plain = trend.rise > PLAIN * self.drift_z * self.strictness * trend.scatter
        return trend.block == max(BLOCKS) and trend.since == needed - 1 and is_plain and trend.trend == 1.0

    def _blocks_needed(self, rise: float, size: float) -> int:
        if self._is_young:
            return YOUNG_BLOCKS
        if rise > STEEP * size:
            return 3
        return 4 if rise > GRAVE * size else 5

    def _has_been_down(self, trend: BlockTrend) -> bool:
        """Whether the best stretch is one that the run came down to, or began at.

        A loss that has risen since the first blocks (the value loss of reinforcement learning grows with the
        rewards) drifts from nothing.
        """
        if self._early is not None and trend.best > self._early + RISEN * abs(self._early):
            return False
        if self._is_young and self._early is not None:
            return trend.best < self._early - LEARNT * abs(self._early)
        return trend.is_settled

    def memory(self) -> State:
        """See `Detector.memory`."""
        return {
            "told": self._told,
            "above": list(self._above),
            "peak": self._peak,
            "rising": self._rising,
            "onset": self._onset,
            "points": self._points,
            "drifting": self._drifting,
            "early": self._early,
            "judged": self._judged,
            "exploded": self._exploded,
            "rates": {
                "highest": self._highest_rate,
                "last": self._rate,
                "restarted": self._restarted,
                "visited": self._by_rate.state_dict(),
            },
            "jump": None if self._jump is None else list(self._jump),
            "after_jump": list(self._after_jump),
            "since_jump": self._since_jump,
            "trends": [trend.state_dict() for trend in self._trends],
        }

    def load_memory(self, state: Mapping[str, JsonValue]) -> None:
        """See `Detector.load_memory`."""
        trends = list_in(state, "trends")
        if len(trends) == len(BLOCKS) - 1:
            # Saved before there was a trend between the fast and the slow one: that one begins anew.
            trends = [trends[0], BlockTrend().state_dict(), trends[1]]
        if len(trends) != len(self._trends):
            raise ValueError(f"field 'trends' of the saved state holds {len(trends)} of {len(self._trends)} trends")
        self._told = flag_in(state, "told")
        self._above = deque(numbers_in(state, "above"), maxlen=NEWEST)
        self._peak = number_in(state, "peak")
        self._rising = whole_in(state, "rising")
        self._onset = whole_in(state, "onset")
        self._points = whole_in(state, "points")
        self._drifting = text_in(state, "drifting")
        self._early = optional_number_in(state, "early")
        self._judged = whole_in(state, "judged")
        self._exploded = whole_in(state, "exploded")
        self._by_rate.reset()
        if "highest_rate" in state:
            # Saved before warm restarts were known.
            self._highest_rate, self._rate, self._restarted = number_in(state, "highest_rate"), 0.0, -RESTART
        else:
            rates = mapping_in(state, "rates")
            self._highest_rate, self._rate = number_in(rates, "highest"), number_in(rates, "last")
            self._restarted = whole_in(rates, "restarted")
            if "visited" in rates:  # not in what was saved before cycles were known
                self._by_rate.load_state_dict(mapping_in(rates, "visited"))
        self._after_jump = deque(numbers_in(state, "after_jump"), maxlen=JUMP_NEWEST)
        self._since_jump = whole_in(state, "since_jump")
        self._jump = None
        if _is_there(state, "jump"):
            step, factor, level, band = numbers_in(state, "jump")
            self._jump = (step, factor, level, band)
        for trend, saved in zip(self._trends, trends):
            trend.load_state_dict(mapping_in({"trends": saved}, "trends"))


def _monotone(blocks: int) -> float:
    """Mann-Kendall's tau that so many blocks must have: a few rise by chance, many do not."""
    by_chance = sqrt(2 * (2 * blocks + 5) / (9 * blocks * (blocks - 1))) if blocks > 1 else 1.0
    return min(MONOTONE, max(LEAST_MONOTONE, OVER_CHANCE * by_chance))


def _is_there(state: Mapping[str, JsonValue], name: str) -> bool:
    if name not in state:
        raise ValueError(f"the saved state has no field {name!r}; save it again with state_dict(), or call reset()")
    return state[name] is not None
