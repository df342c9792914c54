"""Checkpoints in memory: a rollback within the time of a step, gone with the process."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from uuid import UUID

from client_hook.recovery.checkpoints.base import CheckpointNews, CheckpointRecord, Place
from client_hook.recovery.errors import CheckpointInvalid
from client_hook.recovery.snapshot import Snapshot


class MemoryCheckpoints:
    """A ring of snapshots.

    Args:
        keep: how many at most; ``None`` for no limit, where the ledger's rotation is the only one.
        max_bytes: how large together at most; ``None`` for no limit.
        protected: asked when room must be made: the ids that must stay (the newest confirmed ones).
        clock: seconds since 1970, for ``saved_at``.
    """

    place: Place = "memory"

    def __init__(
        self,
        *,
        keep: int | None = None,
        max_bytes: int | None = None,
        protected: Callable[[], Collection[UUID]] = tuple,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if keep is not None and keep < 1:
            raise ValueError(f"keep={keep} leaves no room for a checkpoint; give at least 1 or None")
        if max_bytes is not None and max_bytes < 1:
            raise ValueError(f"max_bytes={max_bytes} leaves no room for a checkpoint; give at least 1 or None")
        self._keep = keep
        self._max_bytes = max_bytes
        self._protected = protected
        self._clock = clock
        self._kept: dict[UUID, tuple[CheckpointRecord, Snapshot]] = {}
        self._news: list[CheckpointNews] = []

    @property
    def size_bytes(self) -> int:
        """Bytes of all snapshots together."""
        return sum(record.size_bytes for record, _ in self._kept.values())

    def save(self, snapshot: Snapshot, *, checkpoint_id: UUID, attempt: int, step: int) -> int:
        """Keep it, after the oldest unprotected ones made room; see `Checkpoints.save`."""
        size = snapshot.size_bytes
        record = CheckpointRecord(checkpoint_id, attempt, step, "candidate", self._clock(), size, self.place)
        evicted = self._those_to_go(size)
        if evicted is None:
            self._news.append(
                CheckpointNews(
                    "failed",
                    record,
                    f"a snapshot of {size} bytes does not fit beside the protected ones in {self._limits()}; "
                    "allow more, or keep checkpoints in a folder",
                )
            )
            return 0
        for old_id in evicted:
            old_record, _ = self._kept.pop(old_id)
            self._news.append(CheckpointNews("evicted", old_record, f"it made room in {self._limits()}"))
        self._kept[checkpoint_id] = (record, snapshot)
        self._news.append(CheckpointNews("saved", record))
        return size

    def _those_to_go(self, size: int) -> list[UUID] | None:
        protected = set(self._protected())
        open_to_eviction = [checkpoint_id for checkpoint_id in self._kept if checkpoint_id not in protected]
        count, total = len(self._kept) + 1, self.size_bytes + size
        going: list[UUID] = []
        while (self._keep is not None and count > self._keep) or (
            self._max_bytes is not None and total > self._max_bytes
        ):
            if not open_to_eviction:
                return None
            going.append(open_to_eviction.pop(0))
            count -= 1
            total -= self._kept[going[-1]][0].size_bytes
        return going

    def _limits(self) -> str:
        limits = [f"keep={self._keep}"] if self._keep is not None else []
        limits += [f"max_bytes={self._max_bytes}"] if self._max_bytes is not None else []
        return " and ".join(limits) or "memory"

    def load(self, checkpoint_id: UUID) -> Snapshot:
        """The snapshot itself; restoring only reads it."""
        self.verify(checkpoint_id)
        return self._kept[checkpoint_id][1]

    def verify(self, checkpoint_id: UUID) -> None:
        """See `Checkpoints.verify`."""
        if checkpoint_id not in self._kept:
            raise CheckpointInvalid(
                f"checkpoint {checkpoint_id} is not in memory; it made room for others, or was of another process"
            )

    def exists(self, checkpoint_id: UUID) -> bool:
        """See `Checkpoints.exists`."""
        return checkpoint_id in self._kept

    def remove(self, checkpoint_id: UUID) -> None:
        """See `Checkpoints.remove`."""
        self._kept.pop(checkpoint_id, None)

    def entries(self) -> list[CheckpointRecord]:
        """See `Checkpoints.entries`."""
        return sorted((record for record, _ in self._kept.values()), key=lambda one: (one.step, one.saved_at))

    def news(self) -> list[CheckpointNews]:
        """See `Checkpoints.news`."""
        news, self._news = self._news, []
        return news

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Nothing is ever under way."""
        return True

    def close(self) -> None:
        """Let go of the snapshots."""
        self._kept.clear()
