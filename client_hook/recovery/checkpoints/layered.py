"""Memory over disk: a rollback takes the copy in memory, a restart the one on disk."""

from __future__ import annotations

from uuid import UUID

from client_hook.recovery.checkpoints.base import CheckpointNews, CheckpointRecord, Checkpoints, Place
from client_hook.recovery.checkpoints.memory import MemoryCheckpoints
from client_hook.recovery.snapshot import Snapshot


class LayeredCheckpoints:
    """What ``durable`` keeps, with the newest of it also in ``fast``; both share the very same copy.

    What there is, and what is told of it, is what ``durable`` says: a checkpoint that has no room in memory is none
    the worse for it.
    """

    def __init__(self, durable: Checkpoints, fast: MemoryCheckpoints) -> None:
        self.durable = durable
        self.fast = fast
        self.place: Place = durable.place

    def save(self, snapshot: Snapshot, *, checkpoint_id: UUID, attempt: int, step: int) -> int:
        """Give it to both; see `Checkpoints.save`."""
        size = self.durable.save(snapshot, checkpoint_id=checkpoint_id, attempt=attempt, step=step)
        if size:
            self.fast.save(snapshot, checkpoint_id=checkpoint_id, attempt=attempt, step=step)
        return size

    def load(self, checkpoint_id: UUID) -> Snapshot:
        """From memory where it is there, else from below."""
        return self.fast.load(checkpoint_id) if self.fast.exists(checkpoint_id) else self.durable.load(checkpoint_id)

    def verify(self, checkpoint_id: UUID) -> None:
        """That below, which must outlive the process."""
        self.durable.verify(checkpoint_id)

    def exists(self, checkpoint_id: UUID) -> bool:
        """See `Checkpoints.exists`."""
        return self.durable.exists(checkpoint_id)

    def remove(self, checkpoint_id: UUID) -> None:
        """From both."""
        self.fast.remove(checkpoint_id)
        self.durable.remove(checkpoint_id)

    def entries(self) -> list[CheckpointRecord]:
        """See `Checkpoints.entries`."""
        return self.durable.entries()

    def news(self) -> list[CheckpointNews]:
        """Of the durable ones; what could not be kept there is no checkpoint, wherever else a copy lies."""
        self.fast.news()
        news = self.durable.news()
        for one in news:
            if one.kind != "saved":
                self.fast.remove(one.record.checkpoint_id)
        return news

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """See `Checkpoints.wait`."""
        return self.durable.wait(timeout_seconds)

    def close(self) -> None:
        """Close both."""
        self.fast.close()
        self.durable.close()
