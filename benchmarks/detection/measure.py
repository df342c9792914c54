"""All contestants over all curves and all injected faults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.detection.contestants import Listen, microseconds_per_observation, plateau_contestants
from benchmarks.detection.curves import Curve
from benchmarks.detection.faults import FAULTS, inject
from benchmarks.detection.scoring import EARLY, Score, score

COST_REPEATS = 20
"""Times that the recorded curve is gone through for the cost: enough points for a steady mean."""


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


@dataclass(frozen=True)
class Plateaus:
    """What a rule said about flat curves, and about the others."""

    found: int
    events: int
    wrongly: int
    """Curves without a plateau of which it was said that they have one."""
    others: int


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


@dataclass
class Report:
    """Everything that was measured."""

    curves: int
    points: int
    standings: dict[str, Standing]
    plateaus: dict[str, Plateaus]
    microseconds: float


def measure(curves: Sequence[Curve], recorded: Sequence[Curve], contestants: Mapping[str, Listen]) -> Report:
    """Run ``contestants`` over ``curves``, over ``recorded`` ones, and over the faults injected into the former."""
    ordinary = [curve for curve in curves if curve.domain != "rl"]
    reinforcement = [curve for curve in curves if curve.domain == "rl"]
    points = sum(len(curve.observations) for curve in curves)
    standings = {name: _standing(listen, ordinary, reinforcement, recorded) for name, listen in contestants.items()}
    plateaus = {name: _plateaus(listen, ordinary) for name, listen in plateau_contestants().items()}
    longest = max(recorded, key=lambda curve: len(curve.observations))
    cost = microseconds_per_observation(longest.observations * COST_REPEATS)
    return Report(len(curves), points, standings, plateaus, cost)


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
