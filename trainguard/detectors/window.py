"""The median of a sliding window, kept sorted as it moves."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Sequence


def median_of(values: Iterable[float]) -> float:
    """`statistics.median` of finite numbers, at a third of its time: most of that goes into checks of its own.

    >>> median_of([3.0, 1.0, 2.0]), median_of([4.0, 1.0])
    (2.0, 2.5)
    """
    ordered = sorted(values)
    half = len(ordered) >> 1
    return ordered[half] if len(ordered) & 1 else (ordered[half - 1] + ordered[half]) / 2


class SlidingMedian:
    """Median of the last ``size`` values: a queue for the order of time beside a sorted list.

    A push costs O(log size) comparisons and one short memory move; the median costs O(1). ``order`` and
    ``ordered`` are the queue and the list; `Baseline`, which pushes at every point, does so without a call.

    >>> window = SlidingMedian(3)
    >>> for value in (5.0, 1.0, 2.0, 9.0):
    ...     window.push(value)
    >>> window.median(), window.values()
    (2.0, [1.0, 2.0, 9.0])
    """

    __slots__ = ("order", "ordered", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.order: deque[float] = deque(maxlen=size)
        self.ordered: list[float] = []

    def __len__(self) -> int:
        return len(self.order)

    def push(self, value: float) -> None:
        """Add a finite value; the oldest one leaves when there are more than ``size``."""
        ordered, order = self.ordered, self.order
        if len(order) == self.size:
            del ordered[bisect_left(ordered, order[0])]
        order.append(value)
        insort(ordered, value)

    def median(self) -> float:
        """The median; 0.0 while there is nothing."""
        ordered = self.ordered
        count = len(ordered)
        if not count:
            return 0.0
        if count & 1:
            return ordered[count >> 1]
        return 0.5 * (ordered[(count >> 1) - 1] + ordered[count >> 1])

    def spread(self) -> float:
        """The interquartile range, from the nearest ranks; 0.0 of fewer than two values."""
        ordered = self.ordered
        count = len(ordered)
        return ordered[(3 * count) // 4] - ordered[count // 4] if count > 1 else 0.0

    def values(self) -> list[float]:
        """The values in the order of time."""
        return list(self.order)

    def fill(self, values: Sequence[float]) -> None:
        """Replace what is there by the last ``size`` of ``values``."""
        self.order = deque(values, maxlen=self.size)
        self.ordered = sorted(self.order)
