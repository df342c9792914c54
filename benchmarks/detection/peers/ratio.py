"""Rules that compare with one number: an average, the previous value, the largest of the first."""

from __future__ import annotations

from math import isfinite, sqrt

from benchmarks.detection.peers.rule import Rule, scaled_ratio
from trainguard.wire import Observation


class Megatron(Rule):
    """abs(x) ≥ 10 times the largest of the first 100 losses."""

    def __init__(self, total: int, strictness: float = 1.0) -> None:
        super().__init__(total, strictness)
        self._seen = 0
        self._largest = 0.0

    def update(self, observation: Observation) -> bool:
        loss = observation.signals.get("loss")
        if loss is None:
            return False
        self._seen += 1
        if self._seen <= 100:
            self._largest = max(self._largest, abs(loss))
            return False
        return abs(loss) >= scaled_ratio(10, self.strictness) * self._largest


class Metaseq(Rule):
    """loss over an average (α = 0.2) above 1.1; spikes do not enter the average."""

    def __init__(self, total: int, strictness: float = 1.0) -> None:
        super().__init__(total, strictness)
        self._average: float | None = None

    def update(self, observation: Observation) -> bool:
        loss = observation.signals.get("loss")
        if loss is None:
            return False
        if self._average is None:
            self._average = loss
            return False
        if self._average > 0 and loss / self._average > scaled_ratio(1.1, self.strictness):
            return True
        self._average += 0.2 * (loss - self._average)
        return False


class ZClipAlarm(Rule):
    """z of the gradient norm above 2.5, by averages (α = 0.97) after 25 values; the clipped value enters them."""

    def __init__(self, total: int, strictness: float = 1.0) -> None:
        super().__init__(total, strictness)
        self._first: list[float] = []
        self._mean = 0.0
        self._variance = 0.0

    def update(self, observation: Observation) -> bool:
        norm = observation.signals.get("grad_norm")
        if norm is None:
            return False
        if len(self._first) < 25:
            self._first.append(norm)
            if len(self._first) == 25:
                self._mean = sum(self._first) / 25
                self._variance = sum((value - self._mean) ** 2 for value in self._first) / 25
            return False
        deviation = sqrt(self._variance)
        z = (norm - self._mean) / (deviation + 1e-12)
        limit = 2.5 * self.strictness
        clipped = self._mean + limit * limit / z * deviation if z > limit else norm
        self._mean = 0.97 * self._mean + 0.03 * clipped
        self._variance = 0.97 * self._variance + 0.03 * (clipped - self._mean) ** 2
        return z > limit


class AxLearnSkip(Rule):
    """Not finite, or a gradient norm of 20 times the average of good steps."""

    def __init__(self, total: int, strictness: float = 1.0) -> None:
        super().__init__(total, strictness)
        self._average: float | None = None

    def update(self, observation: Observation) -> bool:
        norm = observation.signals.get("grad_norm")
        loss = observation.signals.get("loss", 0.0)
        if not isfinite(loss) or (norm is not None and not isfinite(norm)):
            return True
        if norm is None:
            return False
        if self._average is None:
            self._average = norm
        if norm >= scaled_ratio(20, self.strictness) * self._average > 0:
            return True
        self._average = 0.99 * self._average + 0.01 * norm
        return False


class InternEvo(Rule):
    """loss > 1.5 times the loss before."""

    def __init__(self, total: int, strictness: float = 1.0) -> None:
        super().__init__(total, strictness)
        self._previous: float | None = None

    def update(self, observation: Observation) -> bool:
        loss = observation.signals.get("loss")
        if loss is None:
            return False
        previous, self._previous = self._previous, loss
        return previous is not None and loss > scaled_ratio(1.5, self.strictness) * previous


class FlagScale(Rule):
    """A fifth above the last good loss."""

    def __init__(self, total: int, strictness: float = 1.0) -> None:
        super().__init__(total, strictness)
        self._good: float | None = None

    def update(self, observation: Observation) -> bool:
        loss = observation.signals.get("loss")
        if loss is None:
            return False
        if self._good is not None and self._good > 0 and (loss - self._good) / self._good >= 0.2 * self.strictness:
            return True
        self._good = loss
        return False
