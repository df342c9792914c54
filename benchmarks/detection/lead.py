"""By how many points an alarm comes before the loss is at its worst, where the gradient shows the trouble first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf, isfinite

from benchmarks.detection.curves import Curve, Event
from benchmarks.detection.scoring import EARLY
from trainguard.detectors import Panel
from trainguard.wire import Finding


@dataclass(frozen=True)
class Lead:
    """One event that the gradient announced; points before the loss's peak."""

    curve: str
    points: int


def leads(curves: Sequence[Curve]) -> list[Lead]:
    """All events of spikes and divergences whose finding says that the gradient norm had left its band first."""
    return [lead for curve in curves for lead in _of_curve(curve)]


def _of_curve(curve: Curve) -> Iterator[Lead]:
    events = [event for event in curve.events if event.is_scored and event.kind in ("spike", "divergence")]
    if not events or "grad_norm" not in curve.observations[events[0].start].signals:
        return
    panel = Panel()
    said = [(index, finding) for index, one in enumerate(curve.observations) for finding in panel.update(one)]
    for event in events:
        near = [(index, one) for index, one in said if event.start - EARLY <= index <= event.end]
        if near and any(_is_announced(one) for _, one in near):
            yield Lead(curve.name, _peak(curve, event) - near[0][0])


def _is_announced(finding: Finding) -> bool:
    return finding.kind == "grad_explosion" or finding.evidence.get("lead_grad_norm", 0.0) >= 1


def _peak(curve: Curve, event: Event) -> int:
    def height(index: int) -> float:
        loss = curve.observations[index].signals.get("loss", -inf)
        return loss if isfinite(loss) else inf

    return max(range(event.start, event.end + 1), key=height)
