"""The shape of a peer's rule, and the sums that most of them stand on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from math import nan, sqrt

from trainguard.wire import Observation


class Rule(ABC):
    """A streaming rule for a run of ``total`` points."""

    def __init__(self, total: int) -> None:
        self.total = total

    @abstractmethod
    def update(self, observation: Observation) -> bool:
        """Whether the rule speaks at this point."""


def mean_and_deviation(values: Collection[float], *, sample: bool = False) -> tuple[float, float]:
    """Mean and standard deviation, of the population or of a sample; NaN where a value is one."""
    count = len(values)
    mean = sum(values) / count
    squares = sum((value - mean) * (value - mean) for value in values)
    degrees = count - 1 if sample else count
    return mean, sqrt(squares / degrees) if degrees > 0 else nan
