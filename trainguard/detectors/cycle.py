"""What the loss was at a learning rate the last time that the run was there: cyclical schedules (Smith 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from math import floor, log10
from typing import NamedTuple

from pydantic import JsonValue

from trainguard.detectors.snapshot import State, list_in, numbers_in, whole_in

PER_DECADE = 16
"""Rates that are told apart: each a seventh above the one below."""
AWAY = 3
"""Blocks for which a rate must have been left for the next ones to be another visit."""
NEWEST_SHARE = 0.25
"""What a block is worth in the level of a visit: its last thirty points or so make it."""
VISITS = 3
"""Of each rate that are remembered."""
MOST = 24
"""Rates that are remembered, those visited last: one and a half decades."""


class Visit(NamedTuple):
    """A stretch of steps at about one rate, and the loss at its end."""

    first_step: int
    last_step: int
    level: float


class LossByRate:
    """The last visits to every rate: a cycle passes by most of them twice, on its way up and on its way down.

    >>> levels = LossByRate()
    >>> for step, (rate, loss) in enumerate(2 * [(0.1, 2.0)] + 5 * [(0.01, 1.0)] + 2 * [(0.1, 1.9)]):
    ...     levels.add(step, rate, loss)
    >>> levels.before(0.1, 4), levels.before(0.01, 4), levels.was_lower_at(4, 0.1)
    (2.0, None, True)
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Back to knowing nothing."""
        # By rate, the one that was visited last at the end: when its last block came, and its visits in order.
        self._rates: dict[int, tuple[int, tuple[Visit, ...]]] = {}
        self._blocks = 0

    def add(self, step: int, rate: float, level: float) -> None:
        """Take in a block of points that ends at ``step``: its rate, and its median loss."""
        if rate <= 0.0:
            return
        self._blocks += 1
        place = _place(rate)
        seen, visits = self._rates.pop(place, (-AWAY, ()))
        if visits and self._blocks - seen <= AWAY:
            last = visits[-1]
            visit = Visit(last.first_step, step, last.level + NEWEST_SHARE * (level - last.level))
            visits = *visits[:-1], visit
        else:
            visits = (*visits, Visit(step, step, level))[-VISITS:]
        self._rates[place] = self._blocks, visits
        if len(self._rates) > MOST:
            del self._rates[next(iter(self._rates))]

    def rewind(self, step: int) -> None:
        """Forget what was added from ``step`` on; a visit that it cuts as a whole: its level is not that of then."""
        rates: dict[int, tuple[int, tuple[Visit, ...]]] = {}
        for place, (seen, visits) in self._rates.items():
            kept = tuple(visit for visit in visits if visit.last_step < step)
            if kept:
                # What comes after a cut is another visit.
                rates[place] = seen if len(kept) == len(visits) else self._blocks - AWAY, kept
        self._rates = rates

    def before(self, rate: float, step: int) -> float | None:
        """The loss at about this rate on the last visit that had ended at ``step``; None where there was none."""
        if rate <= 0.0:
            return None
        _, visits = self._rates.get(_place(rate), (0, ()))
        return next((visit.level for visit in reversed(visits) if visit.last_step < step), None)

    def was_lower_at(self, step: int, rate: float) -> bool:
        """Whether the rate was a lower one at ``step``."""
        if rate <= 0.0:
            return False
        place = _place(rate)
        return any(
            visit.first_step <= step <= visit.last_step
            for lower, (_, visits) in self._rates.items()
            if lower < place
            for visit in visits
        )

    def state_dict(self) -> State:
        """All it remembers, as JSON."""
        rates: list[JsonValue] = [
            [place, seen, *(number for visit in visits for number in visit)]
            for place, (seen, visits) in self._rates.items()
        ]
        return {"blocks": self._blocks, "rates": rates}

    def load_state_dict(self, state: Mapping[str, JsonValue]) -> None:
        """Take a state back; ``ValueError`` names a field that is missing or damaged."""
        blocks = whole_in(state, "blocks")
        rates: dict[int, tuple[int, tuple[Visit, ...]]] = {}
        for saved in list_in(state, "rates"):
            place, seen, *told = numbers_in({"rates": saved}, "rates")
            if not told or len(told) % 3:
                raise ValueError(
                    f"field 'rates' of the saved state holds visits of {len(told)} numbers, not of three each"
                )
            visits = zip(told[::3], told[1::3], told[2::3])
            rates[int(place)] = int(seen), tuple(Visit(int(one), int(other), level) for one, other, level in visits)
        self._blocks, self._rates = blocks, rates


def _place(rate: float) -> int:
    return floor(PER_DECADE * log10(rate))
