"""The loss swings to and fro, wider than its noise ever was."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import ClassVar

from pydantic import JsonValue

from trainguard.detectors.base import Detector
from trainguard.detectors.snapshot import State, flag_in, numbers_in, whole_in
from trainguard.detectors.watch import Watch
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
        self._scatters: deque[float] = deque(maxlen=REMEMBERED)
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
        self._losses.append(min(max(loss, -LARGEST), LARGEST))
        self._until_look -= 1
        if self._until_look:
            return None
        self._until_look = EVERY
        self._steps.append(watch.step)
        return self._look(watch) if len(self._losses) == WINDOW else None

    def _look(self, watch: Watch) -> Finding | None:
        level = abs(watch.loss.center)
        widest = max(self._losses) - min(self._losses)
        if widest < 2 * self.size * self.strictness * level:
            # The usual case, and far cheaper to see than a scatter.
            self._scatters.append(widest / 4)
            self._told = False
            return None
        rest = detrended(self._losses)
        # A median, so that one spike in the window is no swing.
        width = 1.4826 * median(abs(value) for value in rest)
        former = sorted(self._scatters)[len(self._scatters) // 2] if len(self._scatters) >= LEAST_LOOKS else None
        if (
            former is None
            or width < self.wider * self.strictness * former
            or width < self.size * self.strictness * level
        ):
            self._scatters.append(width)
            self._told = False
            return None
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
            if median(map(abs, rest[index * EVERY : (index + 1) * EVERY])) > width / 2:
                return int(ends[index] - (ends[index] - ends[index - 1]) * (EVERY - 1) / EVERY)
        return int(ends[0])

    def memory(self) -> State:
        """See `Detector.memory`."""
        return {
            "losses": list(self._losses),
            "steps": list(self._steps),
            "scatters": list(self._scatters),
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
        self._scatters.extend(scatters)
        self._until_look, self._told = until_look, told


def detrended(values: Sequence[float]) -> list[float]:
    """What is left when the line of least squares is taken off.

    >>> [round(value, 6) + 0.0 for value in detrended([1.0, 2.0, 3.0])]
    [0.0, 0.0, 0.0]
    """
    count = len(values)
    middle, mean = (count - 1) / 2, fmean(values)
    slope = sum((index - middle) * value for index, value in enumerate(values)) / (count * (count * count - 1) / 12)
    return [value - mean - slope * (index - middle) for index, value in enumerate(values)]


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
        return sum(map(_product, rest[lag:], rest)) / power * len(rest) / (len(rest) - lag)

    half = min(range(1, LONGEST + 1), key=at)
    return half, at(half), at(2 * half)


def _product(first: float, second: float) -> float:
    return first * second
