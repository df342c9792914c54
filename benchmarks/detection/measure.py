"""All contestants over all curves and all injected faults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.detection.contestants import Listen, microseconds_per_observation
from benchmarks.detection.curves import Curve
from benchmarks.detection.faults import FAULTS, inject
from benchmarks.detection.scoring import EARLY, Score, score


@dataclass
class Caught:
    """How many of the injected faults of one kind were found."""

    injected: int = 0
    delays: list[int] = field(default_factory=list)

    @property
    def found(self) -> int:
        return len(self.delays)

    @property
    def delay(self) -> float | None:
        return median(self.delays) if self.delays else None


@dataclass
class Standing:
    """One contestant's results."""

    real: Score
    tuned: Score
    held_out: Score
    reinforcement: Score
    """RL curves apart: their losses are heavy-tailed by nature."""
    plateaus: tuple[int, int]
    """Firm plateaus of which some alarm was raised, of how many."""
    faults: dict[str, Caught]


@dataclass
class Report:
    """Everything that was measured."""

    curves: int
    points: int
    standings: dict[str, Standing]
    microseconds: float


def measure(curves: Sequence[Curve], contestants: Mapping[str, Listen]) -> Report:
    """Run ``contestants`` over ``curves`` and over the faults injected into them."""
    ordinary = [curve for curve in curves if not curve.domain.startswith("rl")]
    reinforcement = [curve for curve in curves if curve.domain.startswith("rl")]
    points = sum(len(curve.observations) for curve in curves)
    standings = {name: _standing(listen, ordinary, reinforcement) for name, listen in contestants.items()}
    longest = max(
        curves, key=lambda curve: len(curve.observations) * (1 + ("grad_norm" in curve.observations[-1].signals))
    )
    cost = microseconds_per_observation(longest.observations)
    return Report(len(curves), points, standings, cost)


def _standing(listen: Listen, ordinary: Sequence[Curve], reinforcement: Sequence[Curve]) -> Standing:
    findings = {curve.name: listen(curve.observations) for curve in (*ordinary, *reinforcement)}
    plateaus = [
        any(event.start <= index <= event.end for index in findings[curve.name])
        for curve in ordinary
        for event in curve.events
        if event.kind == "plateau" and event.is_firm
    ]
    return Standing(
        real=score(ordinary, findings),
        tuned=score([curve for curve in ordinary if curve.half == "tuned"], findings),
        held_out=score([curve for curve in ordinary if curve.half == "held out"], findings),
        reinforcement=score(reinforcement, findings),
        plateaus=(sum(plateaus), len(plateaus)),
        faults=_faults(listen, ordinary),
    )


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
    return caught
