"""All contestants over all curves and all injected faults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt
from statistics import median

from benchmarks.detection.contestants import OURS, Listen, plateau_contestants, quiet_contestants
from benchmarks.detection.cost import kilobytes_per_run, microseconds_per_observation
from benchmarks.detection.curves import Curve
from benchmarks.detection.faults import FAULTS, SLOPE, SLOW_DRIFT, STRONG, WEAK, Injected, band_of, inject, redrawn
from benchmarks.detection.lead import Lead, leads
from benchmarks.detection.peers import PEERS
from benchmarks.detection.scoring import EARLY, SETTLING, Score, merged, score
from benchmarks.detection.trade_off import Setting, trade_off
from benchmarks.machine import loop_milliseconds
from trainguard.wire import Observation

LEVEL = 64
"""Points whose median is the level of a loss."""
REDRAWN = 3
"""Times that the noise of every healthy curve is drawn anew, for enough healthy points."""


@dataclass
class Caught:
    """How many of the injected faults of one kind were found."""

    injected: int = 0
    delays: list[int] = field(default_factory=list)
    risen: list[float] = field(default_factory=list)
    """Of a drift that was found: the share of its best by which the loss had risen then."""

    @property
    def found(self) -> int:
        return len(self.delays)

    @property
    def share(self) -> float:
        return self.found / self.injected if self.injected else 0.0

    @property
    def delay(self) -> float | None:
        return median(self.delays) if self.delays else None


@dataclass(frozen=True)
class Plateaus:
    """What a rule said about flat curves, and about the others."""

    found: int
    events: int
    wrongly: int
    """Curves without a plateau of which it was said that they have one."""
    others: int


@dataclass(frozen=True)
class Quiet:
    """Alarms on points at which nothing is the matter."""

    alarms: int
    points: int
    real_points: int
    """Those of them that are a real curve as it was."""

    @property
    def per_10k(self) -> float:
        return 1e4 * self.alarms / self.points if self.points else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """95 % of a Poisson count, by Byar's approximation, per 10,000 points."""
        count, unit = self.alarms, 1e4 / max(self.points, 1)
        low = count * (1 - 1 / (9 * count) - 1.96 / (3 * sqrt(count))) ** 3 if count else 0.0
        above = count + 1
        high = above * (1 - 1 / (9 * above) + 1.96 / (3 * sqrt(above))) ** 3
        return low * unit, high * unit


@dataclass
class Standing:
    """One contestant's results."""

    real: Score
    tuned: Score
    held_out: Score
    reinforcement: Score
    """RL curves apart: their losses are heavy-tailed by nature."""
    recorded: Score
    """Trainings of the example, which we spoilt ourselves."""
    faults: dict[str, Caught]

    def bands(self) -> dict[str, Caught]:
        """Spikes and shifts together by their size."""
        together = {WEAK: Caught(), STRONG: Caught()}
        for fault in FAULTS:
            if band := band_of(fault):
                together[band].injected += self.faults[fault.name].injected
                together[band].delays += self.faults[fault.name].delays
        return together


@dataclass
class Report:
    """Everything that was measured."""

    curves: int
    points: int
    standings: dict[str, Standing]
    plateaus: dict[str, Plateaus]
    quiet: dict[str, Quiet]
    leads: list[Lead]
    trade_off: dict[str, list[Setting]]
    microseconds: dict[str, float]
    """By recording: processor time of one ``Panel.update``."""
    kilobytes: float
    loop_milliseconds: float
    """What a plain loop of a million additions takes here: how fast the machine is."""

    @property
    def drift_risen(self) -> list[float]:
        """Shares of its best by which the loss had risen when a slow drift was found, smallest first."""
        return sorted(self.standings[OURS].faults[SLOW_DRIFT].risen)


def measure(
    curves: Sequence[Curve],
    recorded: Sequence[Curve],
    signals: Mapping[str, Sequence[Observation]],
    contestants: Mapping[str, Listen],
    *,
    names: Sequence[str] = (OURS, *PEERS),
) -> Report:
    """Run ``contestants`` over ``curves``, over ``recorded`` ones, and over the faults injected into the former.

    ``names`` are those whose trade-off curve is drawn; ``signals`` are what the cost is measured on.
    """
    ordinary = [curve for curve in curves if curve.domain != "rl"]
    reinforcement = [curve for curve in curves if curve.domain == "rl"]
    points = sum(len(curve.observations) for curve in curves)
    standings = {name: _standing(listen, ordinary, reinforcement, recorded) for name, listen in contestants.items()}
    healthy = [curve for curve in ordinary if not curve.events]
    return Report(
        curves=len(curves),
        points=points,
        standings=standings,
        plateaus={name: _plateaus(listen, ordinary) for name, listen in plateau_contestants().items()},
        # The peers' own false alarms on real curves say enough; this is for the interval of ours.
        quiet={name: _quiet(listen, healthy) for name, listen in quiet_contestants().items()},
        leads=leads([*ordinary, *recorded]),
        trade_off=trade_off(ordinary, {name: one.real for name, one in standings.items()}, names),
        microseconds={name: microseconds_per_observation(observations) for name, observations in signals.items()},
        kilobytes=max(kilobytes_per_run(observations) for observations in signals.values()),
        loop_milliseconds=loop_milliseconds(),
    )


def _standing(
    listen: Listen, ordinary: Sequence[Curve], reinforcement: Sequence[Curve], recorded: Sequence[Curve]
) -> Standing:
    findings = {curve.name: listen(curve.observations) for curve in (*ordinary, *reinforcement, *recorded)}
    return Standing(
        real=score(ordinary, findings),
        tuned=score([curve for curve in ordinary if curve.half == "tuned"], findings),
        held_out=score([curve for curve in ordinary if curve.half == "held out"], findings),
        reinforcement=score(reinforcement, findings),
        recorded=score(recorded, findings),
        faults=_faults(listen, ordinary),
    )


def _plateaus(listen: Listen, curves: Sequence[Curve]) -> Plateaus:
    flat = [(curve, event) for curve in curves for event in curve.events if event.is_firm and event.kind == "plateau"]
    found = sum(any(event.start <= index <= event.end for index in listen(curve.observations)) for curve, event in flat)
    others = [curve for curve in curves if not any(event.kind == "plateau" for event in curve.events)]
    return Plateaus(found, len(flat), sum(bool(listen(curve.observations)) for curve in others), len(others))


def _quiet(listen: Listen, healthy: Sequence[Curve]) -> Quiet:
    alarms = points = 0
    for curve in healthy:
        for observations in (curve.observations, *(redrawn(curve, seed) for seed in range(REDRAWN))):
            alarms += sum(last >= SETTLING for _, last in merged(listen(observations)))
            points += len(observations)
    return Quiet(alarms, points, sum(len(curve.observations) for curve in healthy))


def _faults(listen: Listen, curves: Sequence[Curve]) -> dict[str, Caught]:
    caught = {fault.name: Caught() for fault in FAULTS}
    spoken_clean: dict[int, list[int]] = {}
    for case in inject(curves):
        # Only the fault counts: what the rule says without it, at the same place, is taken off.
        clean = spoken_clean.get(id(case.clean))
        if clean is None:
            spoken_clean = {id(case.clean): (clean := listen(case.clean))}
        result = caught[case.fault.name]
        result.injected += 1
        first = next(
            (
                index
                for index in listen(case.observations)
                if case.onset - EARLY <= index <= case.onset + case.fault.within and index not in clean
            ),
            None,
        )
        if first is not None:
            result.delays.append(first - case.onset)
            if case.fault.name == SLOW_DRIFT:
                result.risen.append(_risen(case, first))
    return caught


def _risen(case: Injected, found_at: int) -> float:
    """The share of its best by which the loss had risen: what was injected, or less where the loss fell meanwhile.

    A curve that still learns takes some of the drift off. Its level and its best are medians of `LEVEL` points; noise
    makes the best of many too low, so that such a rise alone would be more than there is.
    """
    losses = [point.signals["loss"] for point in case.observations[: found_at + 1]]
    levels = [median(losses[end - LEVEL : end]) for end in range(LEVEL, len(losses) + 1)]
    best = min(levels)
    return min(SLOPE * (found_at - case.onset), (levels[-1] - best) / abs(best))
