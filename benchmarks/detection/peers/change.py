"""Change detectors of the literature, patience, and the naive rule that sets the floor."""

from __future__ import annotations

from collections import deque
from math import inf, isfinite, log, sqrt
from statistics import quantiles
from typing import ClassVar

from benchmarks.detection.peers.rule import Rule
from trainguard.wire import Observation


class PageHinkley(Rule):
    """Page (1954) as river ships it: δ 0.005, threshold 50, forgetting 0.9999, 30 points, both directions."""

    def __init__(self, total: int, strictness: float = 1.0) -> None:
        super().__init__(total, strictness)
        self._begin()

    def _begin(self) -> None:
        self._count = 0
        self._mean = self._up = self._down = 0.0
        self._lowest, self._highest = inf, -inf

    def update(self, observation: Observation) -> bool:
        loss = observation.signals.get("loss")
        if loss is None:
            return False
        self._count += 1
        self._mean += (loss - self._mean) / self._count
        deviation = loss - self._mean
        self._up = 0.9999 * self._up + deviation - 0.005
        self._down = 0.9999 * self._down + deviation + 0.005
        self._lowest = min(self._lowest, self._up)
        self._highest = max(self._highest, self._down)
        changed = max(self._up - self._lowest, self._highest - self._down) > 50 * self.strictness
        if self._count < 30 or not changed:
            return False
        self._begin()
        return True


class Adwin(Rule):
    """Adaptive windowing (Bifet and Gavaldà 2007) as river ships it: δ 0.002, every 32 points, 5 buckets a row."""

    DELTA, CLOCK, BUCKETS, SHORTEST, GRACE = 0.002, 32, 5, 5, 10

    def __init__(self, total: int, strictness: float = 1.0) -> None:
        super().__init__(total, strictness)
        self._seen = 0
        self._rows: list[deque[tuple[float, float]]] = [deque()]
        """Row r holds (sum, sum of squared deviations) of 2**r values each, the newest at the right."""

    def update(self, observation: Observation) -> bool:
        loss = observation.signals.get("loss")
        if loss is None:
            return False
        self._seen += 1
        self._rows[0].append((loss, 0.0))
        self._compress()
        if self._seen % self.CLOCK or self._width() <= self.GRACE:
            return False
        spoke = False
        while self._cut():
            spoke = True
        return spoke

    def _compress(self) -> None:
        for index, row in enumerate(self._rows):
            if len(row) <= self.BUCKETS:
                return
            if index + 1 == len(self._rows):
                self._rows.append(deque())
            size = 1 << index
            (first, spread), (second, other) = row.popleft(), row.popleft()
            between = (first - second) ** 2 / (2 * size)
            self._rows[index + 1].append((first + second, spread + other + between))

    def _width(self) -> int:
        return sum(len(row) << index for index, row in enumerate(self._rows))

    def _cut(self) -> bool:
        """Drop the oldest bucket where some cut of the window separates two different means."""
        buckets = [
            (1 << index, *bucket) for index in range(len(self._rows) - 1, -1, -1) for bucket in self._rows[index]
        ]
        width = sum(size for size, _, _ in buckets)
        total = sum(amount for _, amount, _ in buckets)
        mean = total / width
        variance = sum(spread + size * (amount / size - mean) ** 2 for size, amount, spread in buckets) / width
        left, amount_left = 0, 0.0
        for size, amount, _ in buckets[:-1]:
            left += size
            amount_left += amount
            right = width - left
            if left < self.SHORTEST or right < self.SHORTEST:
                continue
            difference = abs(amount_left / left - (total - amount_left) / right)
            weight = 1 / (left - self.SHORTEST + 1) + 1 / (right - self.SHORTEST + 1)
            confidence = self.strictness * log(2 * log(width) / self.DELTA)
            if difference > sqrt(2 * weight * variance * confidence) + 2 / 3 * weight * confidence:
                next(row for row in reversed(self._rows) if row).popleft()
                return True
        return False


class Patience(Rule):
    """The mean of the last 10 losses has not been better for a tenth of the run (Keras, Lightning EarlyStopping)."""

    def __init__(self, total: int, strictness: float = 1.0) -> None:
        super().__init__(total, strictness)
        self._window = deque[float](maxlen=10)
        self._best = inf
        self._waited = 0

    def update(self, observation: Observation) -> bool:
        loss = observation.signals.get("loss")
        if loss is None:
            return False
        self._window.append(loss)
        smoothed = sum(self._window) / len(self._window)
        if smoothed < self._best:
            self._best = smoothed
            self._waited = 0
            return False
        self._waited += 1
        return self._waited == max(1, round(self.strictness * self.total / 10))


class NaiveRobust(Rule):
    """Median and interquartile range of the last 64 accepted points: the loss z > 6 and 5 % up, the gradient
    norm z > 12 and 150 % up."""

    LIMITS: ClassVar = {"loss": (6.0, 0.05), "grad_norm": (12.0, 1.5)}

    def __init__(self, total: int, strictness: float = 1.0) -> None:
        super().__init__(total, strictness)
        self._windows = {name: deque[float](maxlen=64) for name in self.LIMITS}

    def update(self, observation: Observation) -> bool:
        spoke = False
        for name, (z, rise) in self.LIMITS.items():
            value = observation.signals.get(name)
            if value is None:
                continue
            if not isfinite(value):
                spoke = True
                continue
            window = self._windows[name]
            if len(window) >= 24:
                low, middle, high = quantiles(window, n=4)
                width = max(0.7413 * (high - low), 1e-12)
                if value - middle > self.strictness * z * width and value - middle > rise * abs(middle):
                    spoke = True
                    continue
            window.append(value)
        return spoke
