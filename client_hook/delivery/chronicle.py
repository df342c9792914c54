"""What a service that lost its database must be told again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar
from uuid import UUID

from client_hook.delivery.outbox import Item
from trainguard.wire import AttemptReport, CheckpointReport

K = TypeVar("K")
V = TypeVar("V")


class Chronicle:
    """The attempts of this process, and the latest news of each checkpoint that still exists.

    Without them a service with a new database would have nothing that it could roll this run back to. Of
    either kind the latest ``MOST`` are kept.
    """

    MOST = 250

    def __init__(self) -> None:
        self._attempts: dict[int, AttemptReport] = {}
        self._checkpoints: dict[UUID, CheckpointReport] = {}

    def note(self, items: Iterable[Item]) -> None:
        """Take in what is being reported."""
        for item in items:
            if type(item) is AttemptReport:
                _keep(self._attempts, item.attempt, item, self.MOST)
            elif type(item) is CheckpointReport:
                self._checkpoints.pop(item.checkpoint_id, None)
                if item.state != "removed":
                    _keep(self._checkpoints, item.checkpoint_id, item, self.MOST)

    def tell(self) -> list[Item]:
        """All of it, attempts first; it fits into one envelope."""
        return [*self._attempts.values(), *self._checkpoints.values()]


def _keep(kept: dict[K, V], key: K, value: V, most: int) -> None:
    kept[key] = value
    if len(kept) > most:
        del kept[next(iter(kept))]
