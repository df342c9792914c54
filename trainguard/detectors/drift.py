"""A slow rise that no point betrays: medians of blocks, compared with the best of them.

Point-by-point rules, CUSUM and Page-Hinkley among them, either follow a drift of a thousandth of a band per
step or cry over every flutter of a converged run. Here the loss is cut into blocks, and a drift is a rise of
the newest blocks over the best stretch that is large against the blocks' own scatter, large against the
loss, and monotone (the Mann-Kendall trend statistic, Mann 1945).
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import inf

from pydantic import JsonValue

from trainguard.detectors.snapshot import State, number_in, numbers_in
from trainguard.detectors.window import median_of

SETTLED = 16
"""Blocks from which on a run that is best at its beginning is believed to be so."""
HEALED = 0.4
"""A rise of which less than this share is left was only a wandering."""
FORGETTING = 0.997
"""What a block leaves of the memory of past wanderings: after 230 of them half is gone."""
WIDTH = 3
"""Blocks in the stretch that is compared."""
APART = 6
"""Blocks between two whose difference shows what a slow wandering does."""
FEWEST = 8
"""Such differences that make a quartile."""
UPPER_QUARTILE = 0.6745
"""Of a normal distribution, in its scatter."""


def kendall_tau(values: Sequence[float]) -> float:
    """Mann-Kendall's tau of a sequence: 1 where it rises without exception, -1 where it falls so, 0 for neither.

    >>> kendall_tau([1.0, 2.0, 3.0]), kendall_tau([2.0, 1.0, 2.0]), kendall_tau([])
    (1.0, 0.0, 0.0)
    """
    pairs = len(values) * (len(values) - 1) // 2
    concordant = 0
    before: list[float] = []
    # Against the earlier ones in sorted order: the panel asks often, and comparing all pairs was half its time.
    for value in values:
        below = bisect_left(before, value)
        concordant += below - (len(before) - bisect_right(before, value, below))
        before.insert(below, value)
    return concordant / pairs if pairs else 0.0


class BlockTrend:
    """Trend of one signal over blocks of ``block`` points, of which the last ``keep`` are remembered.

    ``add(step, value)`` answers ``True`` when it completed a block; then ``rise`` is the level of the newest
    three blocks less ``best``, the lowest level of three blocks in a row, ``scatter`` the noise of such a level,
    ``trend`` Mann-Kendall's tau since the best stretch (1 for a rise without exception), and ``best_step``
    the step at which that stretch ended; of equally good stretches the last one counts. ``wander`` is the largest
    rise that went back by itself lately: a loss that comes and goes, as in reinforcement learning, has to rise
    further than that to mean anything.

    ``opened`` holds the points of the block that is not complete yet. Who takes in every point of every run may append
    to it and call `complete` when it is full; `add` does both.

    >>> rising = BlockTrend(block=4)
    >>> for step in range(200):
    ...     completed = rising.add(step, 2.0 + 0.01 * max(0, step - 100) + 0.02 * (step % 2))
    >>> round(rising.best, 2), round(rising.rise, 2), rising.trend > 0.9, rising.best_step
    (2.01, 0.94, True, 103)
    """

    def __init__(self, *, block: int = 8, keep: int = 64) -> None:
        self.block = block
        self.keep = keep
        self.reset()

    def reset(self) -> None:
        """Back to knowing nothing."""
        self.opened: list[float] = []
        # Plain numbers in one piece of memory: a service holds thousands of these.
        self._medians = array("d")
        self._steps = array("d")
        self._peak = 0.0
        self.wander = 0.0
        self._rebuild()

    def add(self, step: int, value: float) -> bool:
        """Take one finite value in; whether a block was completed and there are enough of them to judge."""
        self.opened.append(value)
        return len(self.opened) >= self.block and self.complete(step)

    def complete(self, step: int) -> bool:
        """Close the block in ``opened``, whose last point is at ``step``; whether there are blocks enough to judge."""
        self._append(step, median_of(self.opened))
        self.opened.clear()
        is_enough = self._measure()
        self.wander *= FORGETTING
        if self.rise > self._peak:
            self._peak = self.rise
        elif self.rise < HEALED * self._peak:
            self.wander = max(self.wander, self._peak)
            self._peak = self.rise
        return is_enough

    def rewind(self, step: int) -> None:
        """Forget what was added from ``step`` on: a branch that was abandoned is no trend of the new one."""
        while self._steps and self._steps[-1] >= step:
            self._steps.pop()
            self._medians.pop()
        self.opened.clear()
        self._rebuild()
        self._peak = self.rise

    def _rebuild(self) -> None:
        """Work out anew what follows from the medians."""
        self._lowest = min(self._levels(), default=inf)
        self._measure()

    def _append(self, step: int, newest: float) -> None:
        """One more median, and the level of three that it makes."""
        blocks, steps = self._medians, self._steps
        gone = None
        if len(blocks) == self.keep:
            gone = (blocks[0] + blocks[1] + blocks[2]) / WIDTH
            del blocks[0], steps[0]
        blocks.append(newest)
        steps.append(step)
        if len(blocks) >= WIDTH:
            level = (blocks[-3] + blocks[-2] + newest) / WIDTH
            if level <= self._lowest:
                self._lowest = level
            elif gone is not None and gone <= self._lowest:
                self._lowest = min(self._levels())

    def _levels(self) -> list[float]:
        blocks = self._medians
        return [(first + second + third) / WIDTH for first, second, third in zip(blocks, blocks[1:], blocks[2:])]

    def _measure(self) -> bool:
        # What is asked for only when the loss has risen is worked out then.
        self._scatter: float | None = None
        self._stretch: tuple[int, int] | None = None
        if not self._is_enough:
            self.best = self.rise = 0.0
            return False
        first, second, third = self._medians[-3:]
        self.best = self._lowest
        self.rise = (first + second + third) / WIDTH - self.best
        return True

    @property
    def _is_enough(self) -> bool:
        return len(self._medians) >= 2 * WIDTH + 2

    @property
    def scatter(self) -> float:
        """The noise of a level of three blocks; 0.0 while there are too few of them."""
        if self._scatter is None:
            changes = [abs(after - before) for before, after in pairwise(self._medians)]
            self._scatter = 1.4826 * median_of(changes) / (2 * WIDTH) ** 0.5 if self._is_enough else 0.0
        return self._scatter

    @property
    def unrest(self) -> float:
        """The noise of a level as it was before the best stretch, slow comings and goings counted in.

        Neighbouring blocks say nothing of a loss that wanders for longer than a block; blocks `APART` do. Only rises
        count, and only those from before: the fall of a run that learns is no noise, and the drift itself neither.
        """
        before = self._medians[: len(self._medians) - self.since]
        if len(before) < APART + FEWEST:
            return self.scatter
        changes = sorted(later - earlier for earlier, later in zip(before, before[APART:]))
        upper: float = changes[3 * len(changes) // 4] / UPPER_QUARTILE / (2 * WIDTH) ** 0.5
        return max(self.scatter, upper)

    @property
    def best_step(self) -> int:
        """The step at which the best stretch ended; 0 while there are too few blocks."""
        return self._best_stretch()[0]

    @property
    def since(self) -> int:
        """Blocks from the middle of the best stretch on; 0 while there are too few."""
        return self._best_stretch()[1]

    def _best_stretch(self) -> tuple[int, int]:
        if self._stretch is not None:
            return self._stretch
        if not self._is_enough:
            return 0, 0
        # Which of several equally good stretches is the lowest is noise; the trouble began after the last of them.
        bar = self.best + self.scatter
        levels = self._levels()
        lowest = len(levels) - 1
        while levels[lowest] > bar:
            lowest -= 1
        self._stretch = int(self._steps[lowest + WIDTH - 1]), len(self._medians) - lowest - WIDTH // 2
        return self._stretch

    @property
    def newest(self) -> float:
        """The median of the block that was completed last; ``IndexError`` before the first."""
        return self._medians[-1]

    @property
    def first(self) -> float:
        """The level of the first three blocks that are remembered."""
        return sum(self._medians[:WIDTH]) / WIDTH

    @property
    def is_settled(self) -> bool:
        """Whether the best stretch is not the very first one, or there are blocks enough for that not to matter."""
        return len(self._medians) >= SETTLED or self.since < len(self._medians) - WIDTH // 2

    @property
    def trend(self) -> float:
        """Mann-Kendall's tau since the best stretch; worked out when asked for, which is seldom."""
        return kendall_tau(self._medians[-self.since :]) if self.since else 0.0

    def state_dict(self) -> State:
        """All it remembers, as JSON; the measures follow from it."""
        return {
            "open": list(self.opened),
            "medians": list(self._medians),
            "steps": list(self._steps),
            "wander": self.wander,
            "peak": self._peak,
        }

    def load_state_dict(self, state: Mapping[str, JsonValue]) -> None:
        """Take a state back; ``ValueError`` names a field that is missing or damaged."""
        opened, medians, steps = (numbers_in(state, name) for name in ("open", "medians", "steps"))
        self.reset()
        self.opened = opened
        self._medians.extend(medians[-self.keep :])
        self._steps.extend(steps[-self.keep :])
        self._rebuild()
        self.wander, self._peak = (
            number_in({"wander": 0.0, **state}, "wander"),
            number_in({"peak": 0.0, **state}, "peak"),
        )
