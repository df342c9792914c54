"""Where in its loop somebody steps the schedulers: needed once, when a killed training is taken up again.

A checkpoint taken inside ``observe`` is right for a rollback inside ``observe``, whichever order the loop has.
A restarted process enters its loop at the top instead: where ``scheduler.step()`` stands after ``observe``, the
step that would have come right after the checkpoint is missing, and every later rate would lag by one.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from client_hook.recovery.schedulers import times_advanced


class ScheduleRhythm:
    """Counts when each scheduler advances; reads only."""

    def __init__(self, schedulers: Sequence[Any]) -> None:
        self._schedulers = schedulers
        self._at_update: list[int | None] = []
        self._at_observe: list[int | None] = []
        self._still_to_come: list[bool] = [False] * len(schedulers)

    def before_update(self) -> None:
        """In the optimizer's step pre-hook."""
        if self._schedulers:
            self._at_update = self._counts()

    def observed(self) -> None:
        """In ``observe``, before a checkpoint is taken."""
        if not self._schedulers:
            return
        counts, former = self._counts(), self._at_observe
        self._at_observe = counts
        if len(former) == len(counts) == len(self._at_update):
            self._still_to_come = [
                now is not None and before is not None and now == updated and now - before == 1
                for now, updated, before in zip(counts, self._at_update, former)
            ]

    @property
    def counts(self) -> list[int | None]:
        """How often each scheduler had advanced at the last ``observe``; ``None`` for one that does not count."""
        return self._at_observe

    def still_to_come(self) -> list[bool]:
        """For each scheduler, whether the loop steps it once per step, and after ``observe``."""
        return list(self._still_to_come)

    def catch_up(self, still_to_come: Sequence[object]) -> int:
        """Make the steps that the killed process did not come to; returns how many schedulers were stepped."""
        stepped = 0
        for scheduler, is_missing in zip(self._schedulers, still_to_come):
            if is_missing is True:
                with warnings.catch_warnings():
                    # torch warns where a scheduler is stepped before its optimizer; here the optimizer was
                    # stepped, in the process that is gone.
                    warnings.simplefilter("ignore")
                    scheduler.step()
                stepped += 1
        return stepped

    def _counts(self) -> list[int | None]:
        return [times_advanced(scheduler) for scheduler in self._schedulers]
