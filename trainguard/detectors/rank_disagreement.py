"""One process of a distributed training computes something else than the others."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite, sqrt
from statistics import median
from typing import ClassVar

from pydantic import JsonValue

from trainguard.detectors.base import Detector
from trainguard.detectors.snapshot import State, mapping_in, number_in, whole_in
from trainguard.detectors.streak import Streak
from trainguard.detectors.watch import Watch
from trainguard.wire import Finding, FindingKind

MOST_RANKS = 64
FORGETTING = 0.05
"""Weight of the newest point in a rank's mean difference: it remembers about twenty."""
KNOWN = 20
SAME = 1e-4
"""Relative difference of parameter norms that rounding may make between replicas."""
SMALLEST_SHARE = 0.02
"""A difference below this share of the loss is nobody's trouble."""
LARGEST = 1e100
STRAGGLER = 2.0
WILD = 12.0
"""Standard deviations that one difference counts for at most: a single wild batch is no disagreement."""


class RankDisagreement(Detector):
    """A rank whose loss is no number while the others' are, that lies apart from theirs, or whose replica differs.

    Signals are named ``loss/rank1``, ``grad_norm/rank1``, ``param_norm/rank1`` and ``step_seconds/rank1``. Each rank
    has other data, so a loss differs from the others' median every step; what counts is that it does so always in
    the same direction: a moving mean of the difference beyond ``z`` of its own standard errors (a control chart,
    Roberts 1959, EWMA) and beyond a fiftieth of the loss. A run that diverges does so on all ranks, and its losses then
    lie further apart than they ever did: while all of them are out of the loss's band, a difference counts the less the
    farther they are. Norms of replicated parameters must be equal; where they are not for ``patience`` points, the
    replicas have drifted apart. A rank that takes twice the others' time for ``patience`` times eight points holds them
    all up.

    `NonFinite` is the better choice where every rank has the trouble.

    >>> from trainguard.wire import Observation
    >>> detector = RankDisagreement()
    >>> found = []
    >>> for step in range(80):
    ...     noise = 0.1 * (step * 7 % 5 - 2)
    ...     late = float("nan") if step >= 60 else 2.0 - noise
    ...     signals = {"loss/rank0": 2.0, "loss/rank1": 2.0 + noise, "loss/rank2": late}
    ...     found.append(detector.update(Observation(0, step, 0.0, signals)))
    >>> [(finding.step, finding.signal) for finding in found if finding]
    [(60, 'loss/rank2')]
    """

    name: ClassVar[str] = "rank_disagreement"
    kind: ClassVar[FindingKind] = "rank_disagreement"
    rests: ClassVar[bool] = True

    def __init__(self, *, sensitivity: str = "normal", z: float = 8.0, patience: float = 3) -> None:
        super().__init__(sensitivity=sensitivity)
        self.z = self._threshold("z", z)
        self.patience = self._threshold("patience", patience)

    def _reset(self) -> None:
        self._means: dict[str, float] = {}
        self._squares: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._apart = Streak(calm_after=20)
        self._bad = Streak()
        self._drifted = Streak()
        self._late = Streak()

    def judge(self, watch: Watch) -> Finding | None:
        """See `Detector.judge`."""
        if watch.resumed and self._counts:
            self._reset()
        if not watch.ranks:
            return None
        losses = dict(watch.ranks.get("loss", {}))
        finding = None
        if losses:
            if "rank0" not in losses and watch.loss_value is not None:
                losses["rank0"] = watch.loss_value
            finding = self._judge_finite(watch, losses) or self._judge_apart(watch, losses)
        return finding or self._judge_replicas(watch) or self._judge_time(watch)

    def _judge_finite(self, watch: Watch, losses: Mapping[str, float]) -> Finding | None:
        bad = sorted(rank for rank, loss in losses.items() if not isfinite(loss))
        some = bool(bad) and len(bad) < len(losses)
        self._bad.add(watch.step, some)
        if not some or not self._bad.is_due(1):
            return None
        return self._report(
            watch,
            self._bad,
            f"loss/{bad[0]}",
            losses[bad[0]],
            f"The loss of {bad[0]} is {losses[bad[0]]}, not the others'.",
        )

    def _judge_apart(self, watch: Watch, losses: dict[str, float]) -> Finding | None:
        finite = {rank: min(max(loss, -LARGEST), LARGEST) for rank, loss in losses.items() if isfinite(loss)}
        if len(finite) < 2:
            return None
        level = median(finite.values())
        if watch.loss.rebased:
            # Another level has other differences.
            self._counts.clear()
        lowest = min(finite.values())
        weight, wild = _weight(watch, lowest), 4 * SMALLEST_SHARE * min(abs(lowest), abs(level))
        # Of two ranks nobody is in the right: both differ from their middle by the same.
        worst, furthest = "", 0.0
        for rank, loss in finite.items():
            away = self._away(rank, weight * (loss - level), abs(level), wild)
            if away > furthest:
                worst, furthest = rank, away
        is_apart = furthest > self.z * self.strictness
        self._apart.add(watch.step, is_apart)
        if not is_apart or not self._apart.is_due(self.patience):
            return None
        difference = self._means[worst]
        words = "lies above" if difference > 0 else "lies below"
        return self._report(
            watch,
            self._apart,
            f"loss/{worst}",
            finite[worst],
            f"The loss of {worst} {words} the others' by {abs(difference):.3g} and has for some time.",
            difference=difference,
            z=min(furthest, 1e9),
        )

    def _away(self, rank: str, difference: float, level: float, wild: float) -> float:
        """Standard errors of the rank's mean difference from none; up to ``wild`` one counts in full."""
        if rank not in self._counts:
            if len(self._counts) >= MOST_RANKS:
                return 0.0
            self._counts[rank], self._means[rank], self._squares[rank] = 0, 0.0, 0.0
        count = self._counts[rank] = min(self._counts[rank] + 1, KNOWN)
        weight = max(FORGETTING, 1.0 / count)
        if count == KNOWN:
            most = max(WILD * sqrt(self._squares[rank]), wild)
            difference = min(max(difference, -most), most)
        mean = self._means[rank] = self._means[rank] + weight * (difference - self._means[rank])
        limit = 16 * self._squares[rank] if count == KNOWN else LARGEST
        # One wild point must not widen what is normal for long.
        square = min((difference - mean) ** 2, limit, LARGEST)
        spread = self._squares[rank] = self._squares[rank] + weight * (square - self._squares[rank])
        if count < KNOWN or abs(mean) < SMALLEST_SHARE * level:
            return 0.0
        error = sqrt(spread * FORGETTING / (2 - FORGETTING))
        return abs(mean) / max(error, 1e-12 * level, 1e-300)

    def _judge_replicas(self, watch: Watch) -> Finding | None:
        norms = {rank: norm for rank, norm in watch.ranks.get("param_norm", {}).items() if isfinite(norm)}
        if len(norms) < 2:
            return None
        level = median(norms.values())
        worst = max(norms, key=lambda rank: abs(norms[rank] - level))
        differs = abs(norms[worst] - level) > SAME * abs(level)
        self._drifted.add(watch.step, differs)
        if not differs or not self._drifted.is_due(self.patience):
            return None
        sentence = f"The parameters of {worst} have a norm of {norms[worst]:.6g} where the others' is {level:.6g}: "
        return self._report(
            watch, self._drifted, f"param_norm/{worst}", norms[worst], sentence + "the replicas have drifted apart."
        )

    def _judge_time(self, watch: Watch) -> Finding | None:
        times = {rank: seconds for rank, seconds in watch.ranks.get("step_seconds", {}).items() if 0 < seconds < 1e9}
        if len(times) < 2:
            return None
        worst = max(times, key=lambda rank: times[rank])
        others = median(seconds for rank, seconds in times.items() if rank != worst)
        is_late = times[worst] > STRAGGLER * self.strictness * others and times[worst] > 0.1
        self._late.add(watch.step, is_late)
        if not is_late or not self._late.is_due(8 * self.patience):
            return None
        return self._report(
            watch,
            self._late,
            f"step_seconds/{worst}",
            times[worst],
            f"A step of {worst} takes {times[worst]:.3g} s where the others take {others:.3g} s.",
        )

    def _report(
        self, watch: Watch, streak: Streak, signal: str, value: float, sentence: str, **evidence: float
    ) -> Finding:
        return self._finding(
            watch, "warning", sentence, onset=streak.onset, signal=signal, value=value, evidence=evidence
        )

    def memory(self) -> State:
        """See `Detector.memory`."""
        return {
            "means": {**self._means},
            "squares": {**self._squares},
            "counts": {**self._counts},
            "apart": self._apart.state_dict(),
            "bad": self._bad.state_dict(),
            "drifted": self._drifted.state_dict(),
            "late": self._late.state_dict(),
        }

    def load_memory(self, state: Mapping[str, JsonValue]) -> None:
        """See `Detector.load_memory`."""
        means, squares, counts = (mapping_in(state, name) for name in ("means", "squares", "counts"))
        self._apart.load_state_dict(mapping_in(state, "apart"))
        self._bad.load_state_dict(mapping_in(state, "bad"))
        self._drifted.load_state_dict(mapping_in(state, "drifted"))
        self._late.load_state_dict(mapping_in(state, "late"))
        self._counts = {rank: whole_in(counts, rank) for rank in counts}
        self._means = {rank: number_in(means, rank) for rank in counts}
        self._squares = {rank: number_in(squares, rank) for rank in counts}


def _weight(watch: Watch, lowest: float) -> float:
    """What a difference counts: 1, or less while even the ``lowest`` loss is out of the band, the less the farther."""
    base = watch.loss
    limit = max(base.accept_z * base.band, base.smallest_rise * abs(base.center))
    rise = min(lowest - base.center, LARGEST)
    return limit / rise if base.ready and rise > limit else 1.0
