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
COURSE = 16
BLOCK = 32
AS_IT_WAS = 256
"""Points at the beginning that `redrawn` leaves alone."""
NEAR = 4
"""Blocks of points that `redrawn` moves a stretch of noise by, at most."""
NAN = float("nan")

Change = Callable[[float, int, float, float], float]
"""(loss, points since the onset, sigma, level) → the loss with the fault."""


@dataclass(frozen=True)
class Fault:
    """A kind of fault: what it does to a signal, how soon it must be seen, and its size where sigmas say it."""

    name: str
    change: Change
    within: int = AFTER
    sigmas: float | None = None
    signal: str = "loss"


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


def _multiplied(factor: float, points: int) -> Change:
    return lambda norm, since, sigma, level: norm * factor if since < points else norm


def _drifting(loss: float, since: int, sigma: float, level: float) -> float:
    """0.004 a step on a loss of 3.5: the slow divergence that none of the published rules sees."""
    return loss + abs(level) * SLOPE * min(since, DRIFT)


SLOPE = 0.004 / 3.5
SLOW_DRIFT = "slow drift"
FAULTS = (
    *(Fault(f"spike of {size} σ, half-life 5", _spike(size), sigmas=size) for size in (3, 5, 8, 10, 15, 30)),
    *(Fault(f"lasting shift of {size} σ", _shift(size), sigmas=size) for size in (3, 5, 8, 10, 30)),
    Fault("loss growing 5 % a step", lambda loss, since, sigma, level: loss + abs(level) * (1.05 ** (since + 1) - 1)),
    Fault(SLOW_DRIFT, _drifting, DRIFT),
    Fault("one NaN", lambda loss, since, sigma, level: NAN if since == 0 else loss),
    Fault("NaN for ever", lambda loss, since, sigma, level: NAN),
    Fault("shift of 30 σ after one NaN", lambda loss, since, sigma, level: loss + 30 * sigma if since else NAN),
    Fault("gradient norm × 10 for 3 steps", _multiplied(10, 3), signal="grad_norm"),
    Fault("gradient norm × 30 for ever", _multiplied(30, DRIFT), signal="grad_norm"),
)
WEAK, STRONG = "3 to 8 σ", "8 σ and more"


def band_of(fault: Fault) -> str:
    """The row of the table of bands that a fault counts in; empty where its size is no number of sigmas."""
    if fault.sigmas is None:
        return ""
    return STRONG if fault.sigmas >= 8 else WEAK


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
                if all(fault.signal in point.signals for point in clean):
                    yield _injected(fault, clean)


def _injected(fault: Fault, clean: tuple[Observation, ...]) -> Injected:
    recent = [point.signals[fault.signal] for point in clean[BEFORE - SIGMA_FROM : BEFORE]]
    level = median(recent)
    changes = [abs(after - before) for before, after in pairwise(recent)]
    sigma = max(1.4826 * median(changes) / 2**0.5, FLOOR * abs(level))
    spoilt = list(clean[: BEFORE + fault.within + 1])
    for index in range(BEFORE, len(spoilt)):
        signals = dict(clean[index].signals)
        signals[fault.signal] = fault.change(signals[fault.signal], index - BEFORE, sigma, level)
        spoilt[index] = replace(clean[index], signals=signals)
    return Injected(fault, clean, tuple(spoilt), BEFORE)


def redrawn(curve: Curve, seed: int) -> tuple[Observation, ...]:
    """A healthy curve once more: its own course (a running median), its own noise in another order.

    Blocks of points change places with blocks near them, so the noise keeps its size, its shape and its memory. For
    counting false alarms on more points than there are.
    """
    signals = {
        name: _reordered([point.signals[name] for point in curve.observations], f"{curve.name}:{seed}")
        for name in ("loss", "grad_norm")
        if all(name in point.signals for point in curve.observations)
    }
    return tuple(
        replace(point, signals={**point.signals, **{name: values[index] for name, values in signals.items()}})
        for index, point in enumerate(curve.observations)
    )


def _reordered(values: list[float], name: str) -> list[float]:
    course = [median(values[max(0, index - COURSE) : index + COURSE + 1]) for index in range(len(values))]
    rest = [value - center for value, center in zip(values, course)]
    blocks = list(range(0, len(values) - BLOCK + 1, BLOCK))
    drawn: list[float] = []
    for index in range(len(blocks)):
        digest = hashlib.sha256(f"{name}:{index}".encode()).digest()
        near = min(max(index + digest[0] % (2 * NEAR + 1) - NEAR, min(AS_IT_WAS // BLOCK, index)), len(blocks) - 1)
        drawn += rest[blocks[near] : blocks[near] + BLOCK]
    drawn += rest[len(drawn) :]
    # The first points fall steeply: what is noise there and what course, nobody can say.
    return [*values[:AS_IT_WAS], *(center + noise for center, noise in zip(course[AS_IT_WAS:], drawn[AS_IT_WAS:]))]
