"""The shape of a store of checkpoints, and what it says about each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable
from uuid import UUID

from client_hook.ranks import Ranks
from client_hook.recovery.checkpoints.layouts import Layout
from client_hook.recovery.snapshot import Snapshot
from trainguard.wire import CheckpointReport, CheckpointState

Place = Literal["disk", "memory", "other"]


@dataclass(frozen=True)
class CheckpointRecord:
    """One checkpoint, as store and ledger know it."""

    checkpoint_id: UUID
    attempt: int
    step: int
    """The *next* step to make after restoring it."""
    state: CheckpointState
    saved_at: float
    """Seconds since 1970-01-01 UTC."""
    size_bytes: int = 0
    place: Place = "disk"

    def report(self, reason: str = "") -> CheckpointReport:
        """The same for the wire, with the reason for its state."""
        return CheckpointReport(
            checkpoint_id=self.checkpoint_id,
            attempt=self.attempt,
            step=self.step,
            state=self.state,
            place=self.place,
            size_bytes=self.size_bytes,
            saved_at=self.saved_at,
            reason=reason,
        )


@dataclass(frozen=True)
class CheckpointNews:
    """What became of a save, or of an older checkpoint that had to make room for one."""

    kind: Literal["saved", "failed", "evicted"]
    record: CheckpointRecord
    reason: str = ""
    """Why it failed or went, in a sentence with the remedy."""


@runtime_checkable
class NeedsRanks(Protocol):
    """What a store has besides, if all ranks write one checkpoint together."""

    folder: Path
    """Seen by all ranks; the run's journal goes there."""

    def bind(self, layouts: Callable[[], Mapping[str, Layout]], ranks: Ranks | None) -> None:
        """Called once by ``attach``, on every rank at the same moment, before anything else."""
        ...


@runtime_checkable
class Checkpoints(Protocol):
    """A store of snapshots by id. Used by one thread; what it does in the background is its own business.

    A save that fails, at once or later, is told by `news` and never raised: a full disk must not stop a
    training. What was stored before stays loadable.
    """

    place: Place

    def save(self, snapshot: Snapshot, *, checkpoint_id: UUID, attempt: int, step: int) -> int:
        """Keep ``snapshot``, which nobody changes any more; returns its size in bytes (0: it failed at once)."""
        ...

    def load(self, checkpoint_id: UUID) -> Snapshot:
        """Read one back, whole and checked. Raises `CheckpointInvalid` where it is missing, torn or changed."""
        ...

    def verify(self, checkpoint_id: UUID) -> None:
        """Check that it could be loaded, without building it. Raises `CheckpointInvalid`."""
        ...

    def exists(self, checkpoint_id: UUID) -> bool:
        """Whether it is here, whatever its health."""
        ...

    def remove(self, checkpoint_id: UUID) -> None:
        """Forget it; nothing happens where it is not here."""
        ...

    def entries(self) -> list[CheckpointRecord]:
        """What is here, by step and time of saving; the store knows no states, so all are candidates."""
        ...

    def news(self) -> list[CheckpointNews]:
        """What became of saves since the last call."""
        ...

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Wait until everything given to `save` is stored or failed; ``False`` if the time ran out."""
        ...

    def close(self) -> None:
        """Finish what was begun and let go; safe to call twice."""
        ...
