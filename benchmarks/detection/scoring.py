"""One scoring for every rule: recall, false alarms per 10,000 points, delay in points."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from benchmarks.detection.curves import Curve

EARLY, LATE = 3, 10
"""A hit lies between so many points before an event's start and after its end."""
MERGED = 50
"""Findings within so many points of each other are one alarm."""
SETTLING = 50
"""An alarm that ends within the first points is forgiven."""
EXCUSED_BEFORE, EXCUSED_AFTER = 10, 60
"""Points around an event in which an alarm is not false."""
MOST_EVENTS = 6
"""Curves with more firm events say nothing about false alarms: small spikes between them are not labelled."""


@dataclass(frozen=True)
class Score:
    """What a rule did on a set of curves."""

    events: int
    found: int
    recall: float
    """Mean over groups of the mean over curves."""
    false_alarms: int
    points: int
    delay: float | None
    """Median points from an event's start to the first finding of it."""

    @property
    def false_alarms_per_10k(self) -> float:
        """False alarms per 10,000 points."""
        return 1e4 * self.false_alarms / self.points if self.points else 0.0


def score(curves: Iterable[Curve], findings: Mapping[str, Sequence[int]]) -> Score:
    """Score ``findings``: by a curve's name, the indices of the points at which the rule spoke, rising."""
    by_group: dict[str, list[float]] = defaultdict(list)
    delays: list[int] = []
    events = false_alarms = points = 0
    for curve in curves:
        spoken = findings[curve.name]
        scored = [event for event in curve.events if event.is_scored]
        if scored:
            firsts = [first_hit(spoken, event.start, event.end) for event in scored]
            hits = [index - event.start for index, event in zip(firsts, scored) if index is not None]
            by_group[curve.group].append(len(hits) / len(scored))
            events += len(scored)
            delays += hits
        if sum(event.is_firm for event in curve.events) <= MOST_EVENTS:
            points += len(curve.observations)
            false_alarms += len(false_alarms_of(curve, spoken))
    recall = fmean(fmean(shares) for shares in by_group.values()) if by_group else 0.0
    return Score(events, len(delays), recall, false_alarms, points, median(delays) if delays else None)


def first_hit(spoken: Sequence[int], start: int, end: int) -> int | None:
    """The first finding that counts for an event from ``start`` to ``end``."""
    return next((index for index in spoken if start - EARLY <= index <= end + LATE), None)


def false_alarms_of(curve: Curve, spoken: Sequence[int]) -> list[tuple[int, int]]:
    """The alarms, as first and last point, that belong to no event."""
    return [
        (first, last)
        for first, last in merged(spoken)
        if last >= SETTLING
        and not any(
            first <= event.end + EXCUSED_AFTER and last >= event.start - EXCUSED_BEFORE for event in curve.events
        )
    ]


def merged(spoken: Sequence[int]) -> list[tuple[int, int]]:
    """Findings as alarms.

    >>> merged([3, 10, 100])
    [(3, 10), (100, 100)]
    """
    alarms: list[tuple[int, int]] = []
    for index in spoken:
        if alarms and index - alarms[-1][1] <= MERGED:
            alarms[-1] = (alarms[-1][0], index)
        else:
            alarms.append((index, index))
    return alarms
