"""Rules over a window of past values: mean and deviation, or the mean alone."""

from __future__ import annotations

from collections import deque
from math import isfinite

from benchmarks.detection.peers.rule import RollingSums, Rule, scaled_ratio
from trainguard.wire import Observation

SIGNALS = ("loss", "grad_norm")


class OlmoMonitor(Rule):
    """x > mean + 6 population deviations of the last 128 values, the current one among them; needs a full window."""

    def __init__(self, total: int, strictness: float = 1.0) -> None:
        super().__init__(total, strictness)
        self._windows = {name: RollingSums(128) for name in SIGNALS}

    def update(self, observation: Observation) -> bool:
        spoke = False
        for name, window in self._windows.items():
            value = observation.signals.get(name)
            if value is None:
                continue
            window.append(value)
            if len(window) == window.size:
                mean, deviation = window.mean_and_deviation()
                spoke |= deviation >= 1e-10 and value > mean + 6 * self.strictness * deviation
        return spoke


class OlmoSkipStep(Rule):
    """x − mean > 6 sample deviations of the last 64 to 128 values before the current one."""

    def __init__(self, total: int, strictness: float = 1.0) -> None:
        super().__init__(total, strictness)
        self._windows = {name: RollingSums(128) for name in SIGNALS}

    def update(self, observation: Observation) -> bool:
        spoke = False
        for name, window in self._windows.items():
            value = observation.signals.get(name)
            if value is None:
                continue
            if len(window) >= 64:
                mean, deviation = window.mean_and_deviation(sample=True)
                spoke |= value - mean > 6 * self.strictness * deviation
            window.append(value)
        return spoke


class OlmoSpikeScore(Rule):
    """A value 7 or more deviations from the mean of the last 1,000; the score is the share of such values."""

    def __init__(self, total: int, strictness: float = 1.0) -> None:
        super().__init__(total, strictness)
        self._windows = {name: RollingSums(1000) for name in SIGNALS}

    def update(self, observation: Observation) -> bool:
        spoke = False
        for name, window in self._windows.items():
            value = observation.signals.get(name)
            if value is None:
                continue
            window.append(value)
            if len(window) > 1:
                mean, deviation = window.mean_and_deviation()
                spoke |= deviation > 0 and abs(value - mean) >= 7 * self.strictness * deviation
        return spoke


class KillLossSpike(Rule):
    """The loss is twice the window's mean for 5 steps in a row, or half of the window lies above a cap."""

    def __init__(self, total: int, strictness: float = 1.0) -> None:
        super().__init__(total, strictness)
        self._window = deque[float](maxlen=max(100, total // 20))
        self._cap: float | None = None
        self._high = 0

    def update(self, observation: Observation) -> bool:
        loss = observation.signals.get("loss")
        if loss is None:
            return False
        window = self._window
        spoke = False
        if len(window) == window.maxlen:
            if self._cap is None:
                self._cap = min(max(window), 10.0)
            self._high = self._high + 1 if loss >= scaled_ratio(2, self.strictness) * sum(window) / len(window) else 0
            above = sum(value > self._cap for value in window)
            spoke = self._high >= 5 or 2 * above >= len(window)
        window.append(loss)
        return spoke


class LightningSpike(Rule):
    """Not finite; or above the last accepted loss and twice the mean of 10 away from that mean."""

    def __init__(self, total: int, strictness: float = 1.0) -> None:
        super().__init__(total, strictness)
        self._window = deque[float](maxlen=10)
        self._last: float | None = None

    def update(self, observation: Observation) -> bool:
        loss = observation.signals.get("loss")
        if loss is None:
            return False
        if not isfinite(loss):
            return True
        if self._last is not None and loss > self._last and len(self._window) == self._window.maxlen:
            mean = sum(self._window) / len(self._window)
            if abs(loss - mean) >= 2 * self.strictness * mean:
                return True
        self._last = loss
        self._window.append(loss)
        return False


class WandbZScore(Rule):
    """abs(z) > 3 over the 30 values before, in either direction."""

    def __init__(self, total: int, strictness: float = 1.0) -> None:
        super().__init__(total, strictness)
        self._window = RollingSums(30)

    def update(self, observation: Observation) -> bool:
        loss = observation.signals.get("loss")
        if loss is None:
            return False
        spoke = False
        if len(self._window) == self._window.size:
            mean, deviation = self._window.mean_and_deviation()
            spoke = deviation > 0 and abs(loss - mean) > 3 * self.strictness * deviation
        self._window.append(loss)
        return spoke
