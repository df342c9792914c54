"""The keeper of every rank but 0: it takes its part of each checkpoint, and judges none."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter

from client_hook.ranks import Board, Ranks
from client_hook.recovery.keeper import CheckpointKeeper
from trainguard.wire import CheckpointReport

LOOKS_EVERY_SECONDS = 2.0
"""How soon a part goes that rank 0 has let go."""

REPORTS = TypeAdapter(tuple[CheckpointReport, ...])


class FollowingKeeper(CheckpointKeeper):
    """Its ledger is a copy of rank 0's: what rank 0 has confirmed is confirmed, what it let go goes here as well.

    Args:
        lost: told of a part that could not be kept; without it the whole checkpoint cannot be restored.
        news: the ledger of rank 0 as it was last heard of; ``None`` where nothing new was heard.
        the_rest: as for `CheckpointKeeper`.
    """

    def __init__(
        self,
        *,
        lost: Callable[[UUID, str], None],
        news: Callable[[], Sequence[CheckpointReport] | None],
        **the_rest: Any,
    ) -> None:
        super().__init__(**the_rest)
        self._lost = lost
        self._news = news
        self._adopted: set[UUID] = set()

    def adopt(self, records: Sequence[CheckpointReport]) -> None:
        """Take over rank 0's ledger, and remove the parts of checkpoints that it has let go."""
        self.ledger.load(records)
        theirs = {record.checkpoint_id for record in records}
        for checkpoint_id in self._adopted - theirs:
            self._store.remove(checkpoint_id)
        self._adopted = theirs

    def adopt_for_restart(self, records: Sequence[CheckpointReport], chosen: UUID) -> None:
        """The same, with nothing to go back to but what rank 0 has gone back to."""
        self.adopt(
            [
                record if record.checkpoint_id == chosen else record.model_copy(update={"state": "candidate"})
                for record in records
            ]
        )

    def confirm(self, seen_step: int) -> None:
        """Nothing is judged here; what became of saves is heard."""
        self._hear()
        records = self._news()
        if records is not None:
            self.adopt(records)

    def save(self, *, attempt: int, next_step: int, is_initial: bool = False) -> CheckpointReport | None:
        """Take this rank's part of the checkpoint that every rank takes at this boundary."""
        report = super().save(attempt=attempt, next_step=next_step, is_initial=is_initial)
        if report is None and self.last_id is not None:
            self._lost(self.last_id, self.why_not_saved)
        return report

    def _rotate(self) -> None:
        """Rank 0 decides what goes."""

    def _failed(self, checkpoint_id: UUID, reason: str) -> None:
        self._lost(checkpoint_id, reason)


class LedgerNews:
    """Rank 0's ledger, as it was last heard of: looked for by the courier, taken by the training thread."""

    def __init__(self, ranks: Ranks) -> None:
        self._due = 0.0
        self._heard: Any = None
        self._is_new = False
        ranks.courier.each_round(self._look)

    def __call__(self) -> Sequence[CheckpointReport] | None:
        """What is new since the last call, if anything."""
        if not self._is_new:
            return None
        self._is_new = False
        return REPORTS.validate_python(self._heard)

    def _look(self, board: Board) -> None:
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + LOOKS_EVERY_SECONDS
        heard = board.look("ledger")
        if heard is not None and heard != self._heard:
            self._heard, self._is_new = heard, True


def publish_ledger(ranks: Ranks, records: Sequence[CheckpointReport]) -> None:
    """On rank 0, whenever the ledger has changed; waits for nothing."""
    written = [record.model_dump(mode="json") for record in records]
    ranks.courier.send(lambda board: board.put("ledger", written))
