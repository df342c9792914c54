"""Points in a row for which something holds: what a trouble needs to be more than one odd point."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from trainguard.detectors.snapshot import State, flag_in, whole_in


class Streak:
    """Counts the points for which something holds; ``calm_after`` points in a row for which it does not end it.

    ``onset`` is the step of the first one, ``told`` says that it was spoken about already.

    >>> streak = Streak(calm_after=2)
    >>> for step, holds in enumerate([False, True, True, False, True]):
    ...     streak.add(step, holds)
    >>> streak.count, streak.onset, streak.is_due(3), streak.is_due(3)
    (3, 1, True, False)
    """

    __slots__ = ("calm", "calm_after", "count", "onset", "told")

    def __init__(self, *, calm_after: int = 3) -> None:
        self.calm_after = calm_after
        self.reset()

    def reset(self) -> None:
        """Back to nothing."""
        self.count = 0
        self.calm = 0
        self.onset = 0
        self.told = False

    def add(self, step: int, holds: bool) -> None:
        """Take one point in."""
        if holds:
            if not self.count:
                self.onset = step
            self.count += 1
            self.calm = 0
        elif self.count:
            self.calm += 1
            if self.calm >= self.calm_after:
                self.reset()

    def is_due(self, needed: float) -> bool:
        """Whether it has become ``needed`` points long and is to be told now; answers ``True`` once."""
        if self.told or self.count < needed:
            return False
        self.told = True
        return True

    def state_dict(self) -> State:
        """All it remembers, as JSON."""
        return {"count": self.count, "calm": self.calm, "onset": self.onset, "told": self.told}

    def load_state_dict(self, state: Mapping[str, JsonValue]) -> None:
        """Take a state back; ``ValueError`` names a field that is missing or damaged."""
        count, calm, onset = (whole_in(state, name) for name in ("count", "calm", "onset"))
        self.count, self.calm, self.onset, self.told = count, calm, onset, flag_in(state, "told")
