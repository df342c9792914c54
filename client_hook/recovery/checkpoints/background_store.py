"""What stores that write to a disk have in common: a thread that writes, what waits for it, and what came of it."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal
from uuid import UUID

from client_hook.recovery.checkpoints.background_writer import BackgroundWriter
from client_hook.recovery.checkpoints.base import CheckpointNews, CheckpointRecord, Place
from client_hook.recovery.snapshot import Snapshot


class BackgroundStore(ABC):
    """The half of a `Checkpoints` that is the same wherever the bytes go; the other half is told by the subclass.

    Args:
        background: write in a thread. ``save`` then returns at once, and a save that comes while ``queue`` others
            wait is refused and told by ``news``.
        queue: how many snapshots may wait in memory to be written.
        clock: seconds since 1970, for ``saved_at``.
    """

    place: Place = "disk"

    def __init__(self, *, background: bool, queue: int, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._queue = queue
        self._lock = threading.Lock()
        self._news: list[CheckpointNews] = []
        self._pending: dict[UUID, tuple[CheckpointRecord, Snapshot]] = {}
        self._writer = BackgroundWriter("trainguard-checkpoints") if background else None

    @abstractmethod
    def _write(self, record: CheckpointRecord, snapshot: Snapshot) -> int:
        """Store it and tell of it; its size in bytes, 0 where it failed. Never raises."""

    @abstractmethod
    def _delete(self, checkpoint_id: UUID) -> None:
        """Take away what is stored of it; nothing happens where nothing is."""

    def save(self, snapshot: Snapshot, *, checkpoint_id: UUID, attempt: int, step: int) -> int:
        """Write it, or hand it to the writer's thread; see `Checkpoints.save`."""
        size = snapshot.size_bytes
        record = CheckpointRecord(checkpoint_id, attempt, step, "candidate", self._clock(), size, self.place)
        if self._writer is None:
            return self._write(record, snapshot)
        with self._lock:
            self._pending[checkpoint_id] = (record, snapshot)
        if not self._writer.give(lambda: self._write_pending(checkpoint_id), limit=self._queue):
            with self._lock:
                self._pending.pop(checkpoint_id, None)
            self._tell("failed", record, "the one before it is still being written; save less often")
            return 0
        return size

    def _write_pending(self, checkpoint_id: UUID) -> None:
        with self._lock:
            pending = self._pending.get(checkpoint_id)
        if pending is None:
            return  # removed before it was begun; other ranks of the same save have removed it as well, or find out
        self._write(*pending)
        with self._lock:
            was_removed = self._pending.pop(checkpoint_id, None) is None
        if was_removed:
            self._delete(checkpoint_id)

    def _snapshot_on_its_way(self, checkpoint_id: UUID) -> Snapshot | None:
        """One that is not written yet: it comes from memory."""
        with self._lock:
            pending = self._pending.get(checkpoint_id)
        return None if pending is None else pending[1]

    def remove(self, checkpoint_id: UUID) -> None:
        """See `Checkpoints.remove`; what is stored goes in the background where writing does."""
        with self._lock:
            self._pending.pop(checkpoint_id, None)
        if self._writer is None or not self._writer.give(lambda: self._delete(checkpoint_id)):
            self._delete(checkpoint_id)

    @abstractmethod
    def _stored(self) -> list[CheckpointRecord]:
        """What is whole and has its name, in any order."""

    def entries(self) -> list[CheckpointRecord]:
        """See `Checkpoints.entries`; those on their way are among them."""
        # Asked first: one that arrives in between is then seen twice, and never missed.
        with self._lock:
            on_their_way = {record.checkpoint_id: record for record, _ in self._pending.values()}
        records = {**{one.checkpoint_id: one for one in self._stored()}, **on_their_way}
        return sorted(records.values(), key=lambda one: (one.step, one.saved_at))

    def news(self) -> list[CheckpointNews]:
        """See `Checkpoints.news`."""
        with self._lock:
            news, self._news = self._news, []
        return news

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """See `Checkpoints.wait`."""
        return self._writer is None or self._writer.wait(timeout_seconds)

    def close(self) -> None:
        """Finish what is queued (ten minutes at most) and end the thread."""
        if self._writer is not None:
            self._writer.close(timeout_seconds=600)

    def _tell(self, kind: Literal["saved", "failed"], record: CheckpointRecord, reason: str = "") -> None:
        with self._lock:
            self._news.append(CheckpointNews(kind, record, reason))


def first_line(error: Exception) -> str:
    """An error in a line, for a sentence that goes on."""
    words = str(error).strip()
    return f"{type(error).__name__}: {words.splitlines()[0][:200] if words else ''}"
