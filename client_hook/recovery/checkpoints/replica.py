"""The part of one rank of a checkpoint whose bulk is the same on all ranks, and was written by rank 0."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import UUID

from pydantic import ValidationError

from client_hook.recovery.checkpoints.base import CheckpointNews, CheckpointRecord, Place
from client_hook.recovery.checkpoints.directory import DirectoryCheckpoints, checked_file, read_snapshot
from client_hook.recovery.checkpoints.manifest import Manifest
from client_hook.recovery.errors import CheckpointInvalid
from client_hook.recovery.snapshot import Snapshot


class ReplicaCheckpoints:
    """A store for every rank but 0 under data parallelism, where parameters and optimizers are equal on all ranks.

    Kept here is what a rank has for itself: random streams, buffers, the user's ``state``, the place in the data.
    Parameters and optimizers are read from rank 0's file, so a checkpoint is written once and not once per rank.

    Args:
        folder: this rank's own.
        whole: rank 0's folder, which this process only reads: on several machines one that all of them see.
        background: as for `DirectoryCheckpoints`.
        patience_seconds: how long ``load`` waits for a file that rank 0 is still writing.
    """

    place: Place = "disk"

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        whole: str | os.PathLike[str],
        background: bool = False,
        queue: int = 1,
        clock: Callable[[], float] = time.time,
        patience_seconds: float = 60.0,
    ) -> None:
        self._own = DirectoryCheckpoints(folder, background=background, queue=queue, clock=clock)
        self._whole = Path(whole)
        self._patience_seconds = patience_seconds

    def save(self, snapshot: Snapshot, *, checkpoint_id: UUID, attempt: int, step: int) -> int:
        """Keep this rank's part; see `Checkpoints.save`."""
        part = replace(snapshot, model={**snapshot.model, "parameters": {}}, optimizers=[])
        return self._own.save(part, checkpoint_id=checkpoint_id, attempt=attempt, step=step)

    def load(self, checkpoint_id: UUID) -> Snapshot:
        """This rank's part and the rest from rank 0's file, both checked; see `Checkpoints.load`."""
        part = self._own.load(checkpoint_id)
        whole = read_snapshot(checked_file(self._whole, self._manifest(checkpoint_id)))
        return replace(part, model={**part.model, "parameters": whole.model["parameters"]}, optimizers=whole.optimizers)

    def _manifest(self, checkpoint_id: UUID) -> Manifest:
        deadline = time.monotonic() + self._patience_seconds
        while True:
            for path in self._whole.glob(f"step-*-{checkpoint_id.hex[:8]}.json"):
                try:
                    manifest = Manifest.model_validate_json(path.read_bytes())
                except (OSError, ValidationError):
                    continue
                # The manifest comes first, the file gets its name last.
                if manifest.checkpoint_id == checkpoint_id and (self._whole / manifest.file).is_file():
                    return manifest
            if time.monotonic() >= deadline:
                raise CheckpointInvalid(f"checkpoint {checkpoint_id} of rank 0 is not in '{self._whole}'")
            time.sleep(0.02)

    def verify(self, checkpoint_id: UUID) -> None:
        """Both parts; see `Checkpoints.verify`."""
        self._own.verify(checkpoint_id)
        checked_file(self._whole, self._manifest(checkpoint_id))

    def exists(self, checkpoint_id: UUID) -> bool:
        """Whether this rank's part is here; see `Checkpoints.exists`."""
        return self._own.exists(checkpoint_id)

    def remove(self, checkpoint_id: UUID) -> None:
        """This rank's part; see `Checkpoints.remove`."""
        self._own.remove(checkpoint_id)

    def entries(self) -> list[CheckpointRecord]:
        """See `Checkpoints.entries`."""
        return self._own.entries()

    def news(self) -> list[CheckpointNews]:
        """See `Checkpoints.news`."""
        return self._own.news()

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """See `Checkpoints.wait`."""
        return self._own.wait(timeout_seconds)

    def close(self) -> None:
        """See `Checkpoints.close`."""
        self._own.close()
