"""Streams of observations: what a healthy training looks like, and ways to spoil it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import exp
from random import Random
from typing import Protocol

from trainguard.detectors import Detector, Panel
from trainguard.wire import Finding, Observation


class Listener(Protocol):
    """A detector."""

    def update(self, observation: Observation) -> Finding | None: ...


def observation(step: int, attempt: int = 0, /, **signals: float) -> Observation:
    return Observation(attempt=attempt, step=step, observed_at=float(step), signals=signals)


def of_losses(losses: Iterable[float], *, first_step: int = 0, attempt: int = 0) -> list[Observation]:
    return [observation(first_step + index, attempt, loss=loss) for index, loss in enumerate(losses)]


def healthy(
    steps: int = 400,
    *,
    seed: int = 0,
    start: float = 4.0,
    floor: float = 1.0,
    exponent: float = 0.3,
    noise: float = 0.02,
    gradient_noise: float = 0.25,
) -> list[Observation]:
    """A loss that falls by a power law under noise of ``noise`` of its level; a gradient norm with lognormal noise."""
    chance = Random(seed)
    return [
        observation(
            step,
            loss=(floor + (start - floor) * (step + 1) ** -exponent) * (1 + chance.gauss(0, noise)),
            grad_norm=exp(chance.gauss(0, gradient_noise)),
            update_ratio=1e-3 * exp(chance.gauss(0, 0.1)),
            learning_rate=1e-3,
            nonfinite_params=0.0,
        )
        for step in range(steps)
    ]


def changed(stream: Sequence[Observation], at: int, /, **signals: float) -> list[Observation]:
    """The stream with some signals of one point replaced."""
    spoilt = list(stream)
    spoilt[at] = replace(spoilt[at], signals={**spoilt[at].signals, **signals})
    return spoilt


def scaled(
    stream: Sequence[Observation], first: int, last: int | None = None, /, **factors: float
) -> list[Observation]:
    """The stream with some signals multiplied from ``first`` to before ``last``."""
    return [
        replace(point, signals={name: value * factors.get(name, 1.0) for name, value in point.signals.items()})
        if first <= index < (len(stream) if last is None else last)
        else point
        for index, point in enumerate(stream)
    ]


def moved(stream: Sequence[Observation], *, first_step: int, attempt: int = 0) -> list[Observation]:
    """The stream as steps from ``first_step`` on."""
    return [replace(point, step=first_step + index, attempt=attempt) for index, point in enumerate(stream)]


def feed(detector: Listener, stream: Iterable[Observation]) -> list[Finding]:
    """Everything that a detector says."""
    return [finding for point in stream if (finding := detector.update(point)) is not None]


def feed_panel(panel: Panel, stream: Iterable[Observation]) -> list[Finding]:
    """Everything that a panel says."""
    return [finding for point in stream for finding in panel.update(point)]


def alarms(findings: Iterable[Finding]) -> list[Finding]:
    """Those that call somebody."""
    return [finding for finding in findings if finding.severity != "info"]


def through_json(holder: Detector | Panel) -> Mapping[str, object]:
    """Its state as another process would read it; JSON has no NaN."""
    state: Mapping[str, object] = json.loads(json.dumps(holder.state_dict(), allow_nan=False))
    return state
