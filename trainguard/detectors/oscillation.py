"""The loss swings to and fro, wider than its noise ever was."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from functools import lru_cache
from operator import mul
from statistics import fmean
from typing import ClassVar

from pydantic import JsonValue

from trainguard.detectors.base import Detector
from trainguard.detectors.snapshot import State, flag_in, numbers_in, whole_in
from trainguard.detectors.watch import Watch
from trainguard.detectors.window import SlidingMedian, median_of
from trainguard.wire import Finding, FindingKind

WINDOW = 96
EVERY = 16
"""Points between two looks at the window."""
LONGEST = 24
"""The longest half period that is looked for: four half periods fit into the window."""
REMEMBERED = 48
"""Scatters of earlier looks."""
LEAST_LOOKS = 6
LARGEST = 1e100


class Oscillation(Detector):
    """A regular swing: the loss is its own mirror image some points later, and itself after as many more.

    The autocorrelation of the detrended last 96 losses has a trough below ``-regular`` at some lag (half a
    period, 1 to 24 points) and a crest above ``regular`` at twice that lag (Box and Jenkins 1970); noise has
    neither. Batches in a fixed order swing as regularly, but always did: so the swing must be ``wider`` times as
    wide as the run's scatter was before, and ``size`` of the level. It is what too high a rate or momentum does
    in a narrow valley before it diverges (Cohen et al. 2021, "edge of stability").

    `LossSpike` is the better choice for single excursions.

    >>> from trainguard.wire import Observation
    >>> detector = Oscillation()
    >>> noise = [0.02 * (step * 7 % 5 - 2) for step in range(400)]
    >>> losses = [2.0 + noise[step] + (0.5 * (-1) ** step if step >= 240 else 0.0) for step in range(400)]
    >>> found = [detector.update(Observation(0, step, 0.0, {"loss": loss})) for step, loss in enumerate(losses)]
    >>> [(finding.step, finding.onset_step, finding.evidence["period"]) for finding in found if finding]
    [(287, 240, 2.0)]
    """

    name: ClassVar[str] = "oscillation"
    kind: ClassVar[FindingKind] = "oscillation"

    def __init__(
        self, *, sensitivity: str = "normal", wider: float = 3.0, regular: float = 0.6, size: float = 0.05
    ) -> None:
        super().__init__(sensitivity=sensitivity)
        self.wider = self._threshold("wider", wider)
        self.regular = self._threshold("regular", regular)
        self.size = self._threshold("size", size)

    def _reset(self) -> None:
        self._losses: deque[float] = deque(maxlen=WINDOW)
        self._steps: deque[float] = deque(maxlen=WINDOW // EVERY)
        self._scatters = SlidingMedian(REMEMBERED)
        self._until_look = EVERY
        self._told = False

    def judge(self, watch: Watch) -> Finding | None:
        """See `Detector.judge`."""
        if watch.resumed:
            self._losses.clear()
            self._steps.clear()
            self._until_look = EVERY
            self._told = False
        loss = watch.loss_value
        if loss is None or not watch.loss_seen:
            return None
        if not -LARGEST <= loss <= LARGEST:
            loss = LARGEST if loss > 0 else -LARGEST
        self._losses.append(loss)
        self._until_look -= 1
        if self._until_look:
            return None
        self._until_look = EVERY
        self._steps.append(watch.step)
        return self._look(watch) if len(self._losses) == WINDOW else None

    def _look(self, watch: Watch) -> Finding | None:
        level = abs(watch.loss.center)
        losses = list(self._losses)
        widest = max(losses) - min(losses)
        if widest < 2 * self.size * self.strictness * level:
            # The usual case, and far cheaper to see than a scatter.
            self._scatters.push(widest / 4)
            self._told = False
            return None
        mean, slope = _line(losses)
        # A median, so that one spike in the window is no swing.
        width = 1.4826 * median_of([abs(value - mean - slope * place) for place, value in zip(_PLACES, losses)])
        scatters = self._scatters.ordered
        former = scatters[len(scatters) // 2] if len(scatters) >= LEAST_LOOKS else None
        if (
            former is None
            or width < self.wider * self.strictness * former
            or width < self.size * self.strictness * level
        ):
            self._scatters.push(width)
            self._told = False
            return None
        rest = detrended(losses)
        half, trough, crest = swing_of(rest)
        if self._told or trough > -self.regular or crest < self.regular:
            return None
        self._told = True
        return self._finding(
            watch,
            "warning",
            f"The loss swings by {width:.3g} to either side with a period of {2 * half} points; "
            f"its scatter had been {former:.3g}.",
            onset=self._onset(rest, width),
            value=watch.loss_value,
            evidence={"period": 2.0 * half, "swing": width, "scatter_before": former, "regularity": -trough},
        )

    def _onset(self, rest: Sequence[float], width: float) -> int:
        """The first step of the first stretch of sixteen points that swings."""
        ends = list(self._steps)
        for index in range(1, len(ends)):
            if median_of(map(abs, rest[index * EVERY : (index + 1) * EVERY])) > width / 2:
                return int(ends[index] - (ends[index] - ends[index - 1]) * (EVERY - 1) / EVERY)
        return int(ends[0])

    def memory(self) -> State:
        """See `Detector.memory`."""
        return {
            "losses": list(self._losses),
            "steps": list(self._steps),
            "scatters": [*self._scatters.values()],
            "until_look": self._until_look,
            "told": self._told,
        }

    def load_memory(self, state: Mapping[str, JsonValue]) -> None:
        """See `Detector.load_memory`."""
        losses, steps, scatters = (numbers_in(state, name) for name in ("losses", "steps", "scatters"))
        until_look, told = whole_in(state, "until_look"), flag_in(state, "told")
        self._reset()
        self._losses.extend(losses)
        self._steps.extend(steps)
        self._scatters.fill(scatters)
        self._until_look, self._told = until_look, told


def detrended(values: Sequence[float]) -> list[float]:
    """What is left when the line of least squares is taken off.

    >>> [round(value, 6) + 0.0 for value in detrended([1.0, 2.0, 3.0])]
    [0.0, 0.0, 0.0]
    """
    mean, slope = _line(values)
    return [value - mean - slope * place for place, value in zip(_places(len(values)), values)]


def _line(values: Sequence[float]) -> tuple[float, float]:
    """Mean and slope of the line of least squares."""
    count = len(values)
    return fmean(values), sum(map(mul, _places(count), values)) / (count * (count * count - 1) / 12)


@lru_cache(maxsize=4)
def _places(count: int) -> tuple[float, ...]:
    """Where each of ``count`` points lies from their middle."""
    middle = (count - 1) / 2
    return tuple(index - middle for index in range(count))


_PLACES = _places(WINDOW)


def swing_of(rest: Sequence[float]) -> tuple[int, float, float]:
    """Half a period in points, the autocorrelation there, and the one a whole period later.

    >>> half, trough, crest = swing_of([(-1.0) ** index for index in range(96)])
    >>> half, trough < -0.9, crest > 0.9
    (1, True, True)
    """
    power = sum(value * value for value in rest)
    if power <= 0:
        return 0, 0.0, 0.0

    def at(lag: int) -> float:
        return float(sum(map(mul, rest[lag:], rest))) / power * len(rest) / (len(rest) - lag)

    half = min(range(1, LONGEST + 1), key=at)
    return half, at(half), at(2 * half)
