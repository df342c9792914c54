"""The book about checkpoints: which are confirmed good, which are suspect, and which may go."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from client_hook.recovery.checkpoints.base import CheckpointRecord
from trainguard.wire import CheckpointReport

PENDING_KEPT = 8
"""Candidates kept at most. Where no stretch is ever quiet none is ever confirmed, and a disk is finite."""


class CheckpointLedger:
    """Judges checkpoints and keeps none. Every verb returns the reports of what it changed.

    A checkpoint of step ``s`` holds the updates of all steps before ``s``.

    Args:
        keep: how many of the newest confirmed ones stay, and how many of the newest suspects.
        quiet_steps: a candidate is confirmed once so many steps after it were judged and nothing was the matter.
        distant: how many older confirmed ones stay besides, at distances that double: a slow drift is noticed only
            after several checkpoints of it were confirmed.

    Raises:
        ValueError: ``keep`` is less than 1, or another number is negative.
    """

    def __init__(self, keep: int = 3, *, quiet_steps: int = 100, distant: int = 6) -> None:
        if keep < 1:
            raise ValueError(f"keep={keep} would leave nothing to go back to; give at least 1")
        if quiet_steps < 0 or distant < 0:
            raise ValueError(f"quiet_steps={quiet_steps} and distant={distant} must not be negative")
        self.keep = keep
        self.quiet_steps = quiet_steps
        self.distant = distant
        self._pages: dict[UUID, CheckpointReport] = {}
        self._abandoned: set[UUID] = set()
        self._best_step: int | None = None

    def added(self, record: CheckpointRecord) -> list[CheckpointReport]:
        """A checkpoint was taken."""
        report = record.report()
        self._pages[record.checkpoint_id] = report
        return [report]

    def quiet(self, seen_step: int) -> list[CheckpointReport]:
        """Every step up to ``seen_step`` was judged and nothing is the matter."""
        return [
            self._change(page, "confirmed", f"The {self.quiet_steps} steps after it were quiet.")
            for page in self._all("candidate")
            if seen_step >= page.step + self.quiet_steps
        ]

    def suspect_from(self, onset_step: int, reason: str) -> list[CheckpointReport]:
        """Something began with the update of ``onset_step``: all that hold it are suspect, confirmed or not."""
        return [
            self._change(page, "suspect", reason)
            for page in self._all("candidate", "confirmed")
            if page.step > onset_step
        ]

    def distrust(self, checkpoint_id: UUID, reason: str) -> list[CheckpointReport]:
        """One turned out to be unusable."""
        page = self._pages.get(checkpoint_id)
        return [] if page is None or page.state == "suspect" else [self._change(page, "suspect", reason)]

    def rolled_back(self, to_step: int, attempt: int) -> list[CheckpointReport]:
        """``attempt`` began at ``to_step``: what earlier ones saved beyond it belongs to an abandoned branch."""
        changed = []
        for page in self.reports():
            if page.step > to_step and page.attempt < attempt:
                self._abandoned.add(page.checkpoint_id)
                if page.state != "suspect":
                    reason = f"Attempt {page.attempt} was abandoned: attempt {attempt} began at step {to_step}."
                    changed.append(self._change(page, "suspect", reason))
        return changed

    def hold(self, best_step: int) -> None:
        """The loss was at its best at ``best_step``: whatever has begun since, the last one from before it stays."""
        self._best_step = best_step

    def rotation(self) -> list[UUID]:
        """Which may be removed now, oldest first. Never the newest confirmed one, whichever that is."""
        stays = {page.checkpoint_id for page in (*self._confirmed_that_stay(), *self._candidates_that_stay())}
        suspects = [page for page in self._all("suspect") if page.checkpoint_id not in self._abandoned]
        # Nothing goes back to a suspect by itself; a person may want to look into the newest.
        stays |= {page.checkpoint_id for page in suspects[-self.keep :]}
        return [page.checkpoint_id for page in self.reports() if page.checkpoint_id not in stays]

    def removed(self, checkpoint_id: UUID, reason: str = "") -> list[CheckpointReport]:
        """The store has it no longer; it leaves the book."""
        page = self._pages.pop(checkpoint_id, None)
        self._abandoned.discard(checkpoint_id)
        if page is None:
            return []
        words = reason or (page.reason if page.state == "suspect" else "It made room for newer ones.")
        return [page.model_copy(update={"state": "removed", "reason": words})]

    def reports(self) -> list[CheckpointReport]:
        """The latest word on each that is there, by step and time of saving."""
        return sorted(self._pages.values(), key=lambda page: (page.step, page.saved_at))

    def records(self) -> tuple[CheckpointReport, ...]:
        """For the journal."""
        return tuple(self._pages.values())

    def load(self, records: Iterable[CheckpointReport]) -> None:
        """Take over what `records` said in an earlier process."""
        self._pages = {page.checkpoint_id: page for page in records}
        self._abandoned.clear()

    def _confirmed_that_stay(self) -> list[CheckpointReport]:
        confirmed = self._all("confirmed")
        newest, older = confirmed[-self.keep :], confirmed[: -self.keep]
        # In every class of distance the oldest stays until it has aged into the next one. If the newest stayed
        # instead, it would be displaced before it ever got old, and there would be no distant ones at all.
        oldest_of: dict[int, CheckpointReport] = {}
        for page in older:
            distance = newest[-1].step - page.step
            oldest_of.setdefault(distance.bit_length(), page)
        nearest_first = [oldest_of[distance_class] for distance_class in sorted(oldest_of)]
        return newest + nearest_first[: self.distant] + self._from_before_a_trend(confirmed)

    def _from_before_a_trend(self, confirmed: list[CheckpointReport]) -> list[CheckpointReport]:
        if self._best_step is None:
            return []
        return [page for page in confirmed if page.step <= self._best_step][-1:]

    def _candidates_that_stay(self) -> list[CheckpointReport]:
        candidates = self._all("candidate")
        if len(candidates) <= PENDING_KEPT:
            return candidates
        # The oldest is the next to be confirmed. Dropping it each time would confirm none, ever.
        return [candidates[0], *candidates[len(candidates) - PENDING_KEPT + 1 :]]

    def _all(self, *states: str) -> list[CheckpointReport]:
        return [page for page in self.reports() if page.state in states]

    def _change(self, page: CheckpointReport, state: str, reason: str) -> CheckpointReport:
        changes: dict[str, Any] = {"state": state, "reason": reason[:4000]}
        changed = page.model_copy(update=changes)
        self._pages[page.checkpoint_id] = changed
        return changed
