"""A run as its log tells it: columns of numbers, which come out again as observations."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trainguard.wire import Observation


@dataclass
class Column:
    """One signal's values, a place per point; where nothing was measured the value means nothing."""

    values: array[float] = field(default_factory=lambda: array("d"))
    measured: bytearray = field(default_factory=bytearray)

    def get(self, index: int) -> float | None:
        """The value at a point, or ``None``."""
        return self.values[index] if self.measured[index] else None


@dataclass
class PastRun:
    """Nine bytes a number: a million steps of four signals fit into 45 MB."""

    path: Path
    format: str
    sources: Mapping[str, str] = field(default_factory=dict)
    """By signal, and ``step``: the column it was read from."""
    steps: array[int] = field(default_factory=lambda: array("q"))
    columns: dict[str, Column] = field(default_factory=dict)
    attempts: list[int] = field(default_factory=lambda: [0])
    """Indices of the points with which attempts begin: a log in which the steps go back is that of a restarted run."""
    notes: list[str] = field(default_factory=list)
    """What a person should know about how it was read."""

    def __len__(self) -> int:
        return len(self.steps)

    def attempt_of(self, index: int) -> int:
        """The attempt that a point belongs to."""
        return bisect_left(self.attempts, index + 1) - 1

    def observations(self) -> Iterator[Observation]:
        """Every point, in the order of the log."""
        columns = [(name, column.values, column.measured) for name, column in self.columns.items()]
        starts = [*self.attempts[1:], len(self)]
        attempt = 0
        for index, step in enumerate(self.steps):
            while index >= starts[attempt]:
                attempt += 1
            signals = {name: values[index] for name, values, measured in columns if measured[index]}
            yield Observation(attempt, step, 0.0, signals)
