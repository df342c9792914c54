"""By how many points an alarm comes before the loss is at its worst, where the gradient shows the trouble first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf, isfinite

from benchmarks.detection.curves import Curve, Event
from benchmarks.detection.scoring import EARLY
from trainguard.detectors import Panel
from trainguard.detectors.lead import Row
from trainguard.detectors.lead import leads as leads_of_signals

BEGINNING = 16
"""Points of a long trouble in which the gradient is looked at: what it does later announces nothing."""


@dataclass(frozen=True)
class Lead:
    """One event that was found; all in points before the loss's peak."""

    curve: str
    points: int
    """Of the first alarm."""
    gradient: int
    """Of the point at which the gradient norm left its band; 0 where that was no earlier than the peak."""

    @property
    def is_announced(self) -> bool:
        """Whether the gradient showed the trouble before the loss was at its worst: only then can an alarm lead."""
        return self.gradient >= 1


def leads(curves: Sequence[Curve]) -> list[Lead]:
    """All spikes and divergences that were found in curves with a gradient norm.

    Whether the gradient showed one first is measured on the curve itself, whatever our detectors said of it.
    """
    return [lead for curve in curves for lead in _of_curve(curve)]


def _of_curve(curve: Curve) -> Iterator[Lead]:
    events = [event for event in curve.events if event.is_scored and event.kind in ("spike", "divergence")]
    if not events or "grad_norm" not in curve.observations[events[0].start].signals:
        return
    panel = Panel()
    said = [
        index
        for index, observation in enumerate(curve.observations)
        if any(finding.severity != "info" for finding in panel.update(observation))
    ]
    for event in events:
        first = next((index for index in said if event.start - EARLY <= index <= event.end), None)
        if first is not None:
            peak = _peak(curve, event)
            yield Lead(curve.name, peak - first, _gradient_before(curve, event, peak))


def _gradient_before(curve: Curve, event: Event, peak: int) -> int:
    """Points before the peak from which on the gradient norm was out of its band, by the rule of the evidence."""
    until = min(peak, event.start + BEGINNING)
    rows = [
        Row(index, None, _finite(point.signals.get("grad_norm")), None, None)
        for index, point in enumerate(curve.observations[:until])
    ]
    ahead = leads_of_signals(rows, until).get("grad_norm", 0)
    return ahead + peak - until if ahead else 0


def _finite(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None


def _peak(curve: Curve, event: Event) -> int:
    def height(index: int) -> float:
        loss = curve.observations[index].signals.get("loss", -inf)
        return loss if isfinite(loss) else inf

    return max(range(event.start, event.end + 1), key=height)
