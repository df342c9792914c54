"""The shape of a peer's rule, and the sums that most of them stand on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from math import isfinite, nan, sqrt

from trainguard.wire import Observation


class Rule(ABC):
    """A streaming rule for a run of ``total`` points.

    ``strictness`` scales the rule's one threshold for the trade-off curve; 1 is what its project ships.
    """

    def __init__(self, total: int, strictness: float = 1.0) -> None:
        self.total = total
        self.strictness = strictness

    @abstractmethod
    def update(self, observation: Observation) -> bool:
        """Whether the rule speaks at this point."""


def scaled_ratio(ratio: float, strictness: float) -> float:
    """A threshold that is a ratio, with what it asks above 1 scaled.

    >>> scaled_ratio(1.5, 2.0)
    2.0
    """
    return 1.0 + (ratio - 1.0) * strictness


class RollingSums:
    """Mean and standard deviation of the last ``size`` values, NaN while one of them is no number.

    Sums are kept up as the window moves, about a centre that is set anew with every window, so that they stay exact.

    >>> window = RollingSums(3)
    >>> for value in (9.0, 1.0, 2.0, 3.0):
    ...     window.append(value)
    >>> window.mean_and_deviation(sample=True)
    (2.0, 1.0)
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._values: deque[float] = deque()
        self._bad = 0
        self._since = 0
        self._centre = self._sum = self._squares = 0.0

    def __len__(self) -> int:
        return len(self._values)

    def append(self, value: float) -> None:
        self._values.append(value)
        self._count(value, 1)
        if len(self._values) > self.size:
            self._count(self._values.popleft(), -1)
        self._since += 1
        if self._since >= self.size:
            self._begin()

    def _count(self, value: float, sign: int) -> None:
        away = value - self._centre
        if not isfinite(away * away):
            self._bad += sign
            return
        self._sum += sign * away
        self._squares += sign * away * away

    def _begin(self) -> None:
        self._since = 0
        finite = [value for value in self._values if isfinite(value)]
        self._centre = sum(finite) / len(finite) if finite else 0.0
        self._bad = 0
        self._sum = self._squares = 0.0
        for value in self._values:
            self._count(value, 1)

    def mean_and_deviation(self, *, sample: bool = False) -> tuple[float, float]:
        """Of the population or of a sample."""
        count = len(self._values)
        degrees = count - 1 if sample else count
        if self._bad or degrees < 1:
            return nan, nan
        mean = self._sum / count
        return self._centre + mean, sqrt(max(self._squares - count * mean * mean, 0.0) / degrees)
