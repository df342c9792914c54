"""The median of a sliding window, kept sorted as it moves."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence


class SlidingMedian:
    """Median of the last ``size`` values: a queue for the order of time beside a sorted list.

    A push costs O(log size) comparisons and one short memory move; the median costs O(1).

    >>> window = SlidingMedian(3)
    >>> for value in (5.0, 1.0, 2.0, 9.0):
    ...     window.push(value)
    >>> window.median(), window.values()
    (2.0, [1.0, 2.0, 9.0])
    """

    __slots__ = ("_order", "_sorted", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self._order: deque[float] = deque()
        self._sorted: list[float] = []

    def __len__(self) -> int:
        return len(self._order)

    def push(self, value: float) -> None:
        """Add a finite value; the oldest one leaves when there are more than ``size``."""
        ordered, order = self._sorted, self._order
        if len(order) == self.size:
            del ordered[bisect_left(ordered, order.popleft())]
        order.append(value)
        insort(ordered, value)

    def median(self) -> float:
        """The median; 0.0 while there is nothing."""
        ordered = self._sorted
        count = len(ordered)
        if not count:
            return 0.0
        if count & 1:
            return ordered[count >> 1]
        return 0.5 * (ordered[(count >> 1) - 1] + ordered[count >> 1])

    def spread(self) -> float:
        """The interquartile range, from the nearest ranks; 0.0 of fewer than two values."""
        ordered = self._sorted
        count = len(ordered)
        return ordered[(3 * count) // 4] - ordered[count // 4] if count > 1 else 0.0

    def values(self) -> list[float]:
        """The values in the order of time."""
        return list(self._order)

    def fill(self, values: Sequence[float]) -> None:
        """Replace what is there by the last ``size`` of ``values``."""
        self._order = deque(values[-self.size :])
        self._sorted = sorted(self._order)
