"""Faults of known onset, injected into the noise of healthy real curves."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

from benchmarks.detection.curves import Curve
from trainguard.wire import Observation

BEFORE = 500
"""Points of the curve that a rule sees before the fault."""
AFTER = 40
"""Points after an onset in which a sudden fault must be found."""
DRIFT = 600
"""Points over which a drift goes on; it must be found before it ends."""
SIGMA_FROM = 64
"""Points before the onset from which the noise is measured."""
FLOOR = 0.01
"""Least sigma, as a share of the level: a smoothed curve has next to none, and 10 of that are no fault."""
NAN = float("nan")

Change = Callable[[float, int, float, float], float]
"""(loss, points since the onset, sigma, level) → the loss with the fault."""


@dataclass(frozen=True)
class Fault:
    """A kind of fault: what it does to the loss, and for how long it may stay unseen."""

    name: str
    change: Change
    within: int = AFTER


@dataclass(frozen=True)
class Injected:
    """A stretch of a curve with a fault from ``onset`` on, and the same stretch without it."""

    fault: Fault
    clean: tuple[Observation, ...]
    observations: tuple[Observation, ...]
    onset: int


def _spike(sigmas: float) -> Change:
    return lambda loss, since, sigma, level: loss + sigmas * sigma * 0.5 ** (since / 5)


def _shift(sigmas: float) -> Change:
    return lambda loss, since, sigma, level: loss + sigmas * sigma


FAULTS = (
    Fault("spike of 3 σ, half-life 5", _spike(3)),
    Fault("spike of 5 σ, half-life 5", _spike(5)),
    Fault("spike of 10 σ, half-life 5", _spike(10)),
    Fault("spike of 30 σ, half-life 5", _spike(30)),
    Fault("lasting shift of 10 σ", _shift(10)),
    Fault("lasting shift of 30 σ", _shift(30)),
    Fault("loss growing 5 % a step", lambda loss, since, sigma, level: loss + abs(level) * (1.05 ** (since + 1) - 1)),
    # 0.004 a step on a loss of 3.5: the slow divergence that none of the published rules sees.
    Fault("slow drift", lambda loss, since, sigma, level: loss + abs(level) * 0.004 / 3.5 * min(since, DRIFT), DRIFT),
    Fault("one NaN", lambda loss, since, sigma, level: NAN if since == 0 else loss),
    Fault("NaN for ever", lambda loss, since, sigma, level: NAN),
    Fault("shift of 30 σ after one NaN", lambda loss, since, sigma, level: loss + 30 * sigma if since else NAN),
)


def inject(curves: Sequence[Curve], repeats: int = 2) -> Iterator[Injected]:
    """Every fault into every healthy curve that is long enough, ``repeats`` times at places fixed by a hash."""
    for curve in curves:
        room = len(curve.observations) - BEFORE - DRIFT
        if curve.events or curve.domain == "rl" or room <= 0:
            continue
        for repeat in range(repeats):
            digest = hashlib.sha256(f"{curve.name}:{repeat}".encode()).digest()
            start = int.from_bytes(digest[:4], "big") % room
            clean = curve.observations[start : start + BEFORE + DRIFT]
            for fault in FAULTS:
                yield _injected(fault, clean)


def _injected(fault: Fault, clean: tuple[Observation, ...]) -> Injected:
    recent = [point.signals["loss"] for point in clean[BEFORE - SIGMA_FROM : BEFORE]]
    level = median(recent)
    changes = [abs(after - before) for before, after in pairwise(recent)]
    sigma = max(1.4826 * median(changes) / 2**0.5, FLOOR * abs(level))
    spoilt = list(clean)
    for index in range(BEFORE, len(clean)):
        signals = dict(clean[index].signals)
        signals["loss"] = fault.change(signals["loss"], index - BEFORE, sigma, level)
        spoilt[index] = replace(clean[index], signals=signals)
    return Injected(fault, clean, tuple(spoilt), BEFORE)
