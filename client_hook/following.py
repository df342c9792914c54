"""The brain of every rank but 0: it judges nothing, and lets rank 0 know what was measured here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from client_hook.delivery.gathering import as_row
from client_hook.local_brain import Considered
from client_hook.ranks import Ranks
from client_hook.ranks.table import RowSender
from trainguard.wire import Finding, Observation, Receipt, WireModel


class FollowingBrain:
    """In the place of `LocalBrain`; called by the delivery thread, save `part_lost`."""

    is_troubled = False
    """Nothing is judged here: which checkpoints are good, rank 0 says."""
    seen_step = -1
    best_step = 0

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self._sender = RowSender(ranks)
        self._lost: list[dict[str, Any]] = []

    def part_lost(self, checkpoint_id: UUID, reason: str) -> None:
        """This rank could not keep its part of a checkpoint."""
        self._lost.append({"part_lost": str(checkpoint_id), "reason": reason[:1000]})

    def consider(self, items: Sequence[object]) -> Considered:
        """Send it on."""
        words, self._lost = self._lost, []
        rows = []
        for item in items:
            if isinstance(item, Observation):
                rows.append(as_row(item, self._ranks.is_sharded))
            elif isinstance(item, Finding) and self._ranks.is_sharded:
                # Under data parallelism rank 0 has the same gradients, and says the same.
                words.append({"finding": item.model_dump(mode="json")})
        if rows or words:
            self._sender.send(rows, words)
        return Considered()

    def finish(self) -> list[WireModel]:
        """Nothing is open here."""
        return []

    def heard(self, receipt: Receipt) -> None:
        """No service speaks to this rank."""

    def save(self) -> dict[str, Any]:
        """No memory."""
        return {}

    def rewind(self, saved: Mapping[str, Any] | None, *, attempt: int, next_step: int) -> None:
        """Nothing to take back."""
