"""The course of a whole run in a few blocks, however long it gets."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from trainguard.detectors.snapshot import State, number_in, numbers_in, whole_in
from trainguard.detectors.window import median_of

CELL = 8
"""Points whose median is the smallest block: single spikes leave no trace in it."""


class Course:
    """All points of a run in at most ``keep`` blocks of equal length; when they are full, pairs are merged.

    A block is the mean of the medians of its cells of 8 points. The memory stays bounded, and "the second
    quarter of the run" means something at step 500 as well as at step 500,000. ``add(step, value)`` answers
    ``True`` when it completed a block; ``steps`` holds the first step of each.

    >>> course = Course(keep=4)
    >>> completed = [course.add(step, float(step // 8)) for step in range(40)]
    >>> sum(completed), course.blocks, course.steps, course.points
    (4, [0.5, 2.5], [0, 16], 32)
    """

    def __init__(self, *, keep: int = 64) -> None:
        self.keep = keep
        self.reset()

    def reset(self) -> None:
        """Back to knowing nothing."""
        self.blocks: list[float] = []
        self.steps: list[int] = []
        self._started = 0
        self._span = 1
        self._cell: list[float] = []
        self._sum = 0.0
        self._cells = 0

    @property
    def points(self) -> int:
        """Points behind the complete blocks."""
        return CELL * self._span * len(self.blocks)

    def add(self, step: int, value: float) -> bool:
        """Take one finite value in; whether a block was completed."""
        cell = self._cell
        if not cell and not self._cells:
            self._started = step
        cell.append(value)
        if len(cell) < CELL:
            return False
        self._sum += median_of(self._cell)
        self._cells += 1
        self._cell.clear()
        if self._cells < self._span:
            return False
        self.blocks.append(self._sum / self._cells)
        self.steps.append(self._started)
        self._sum, self._cells = 0.0, 0
        if len(self.blocks) == self.keep:
            self.blocks = [0.5 * (first + second) for first, second in zip(self.blocks[::2], self.blocks[1::2])]
            self.steps = self.steps[::2]
            self._span *= 2
        return True

    def state_dict(self) -> State:
        """All it remembers, as JSON."""
        return {
            "blocks": list(self.blocks),
            "steps": [*self.steps],
            "started": self._started,
            "span": self._span,
            "cell": list(self._cell),
            "sum": self._sum,
            "cells": self._cells,
        }

    def load_state_dict(self, state: Mapping[str, JsonValue]) -> None:
        """Take a state back; ``ValueError`` names a field that is missing or damaged."""
        blocks, cell, total = numbers_in(state, "blocks"), numbers_in(state, "cell"), number_in(state, "sum")
        steps = [int(step) for step in numbers_in(state, "steps")]
        span, cells, started = (whole_in(state, name) for name in ("span", "cells", "started"))
        self.blocks, self.steps, self._cell = blocks, steps, cell
        self._sum, self._span, self._cells, self._started = total, span, cells, started
