"""Checkpoints that somebody's own functions keep: in a bucket, in a database, behind a library of theirs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, ValidationError

from client_hook.durable_file import write_bytes_durably
from client_hook.recovery.checkpoints.base import CheckpointNews, CheckpointRecord, Place
from client_hook.recovery.errors import CheckpointInvalid
from client_hook.recovery.folder import usable_folder
from client_hook.recovery.snapshot import Snapshot
from client_hook.recovery.tensor_trees import walk_tensors
from client_hook.recovery.verification import checksum_of_tensors


class _Entry(BaseModel):
    """One line of the index."""

    model_config = ConfigDict(extra="ignore")

    checkpoint_id: UUID
    name: str
    attempt: int
    step: int
    saved_at: float
    size_bytes: int
    tensors: str
    """SHA-256 over every tensor of it."""


class _Index(BaseModel):
    """What the functions were given, in the folder."""

    model_config = ConfigDict(extra="ignore")

    entries: tuple[_Entry, ...] = ()


class FunctionCheckpoints:
    """A store that calls ``save(payload, name)``, ``load(name)`` and ``remove(name)``.

    The payload is a dictionary of plain values and tensors on the CPU, as ``torch.save`` writes and
    ``torch.load(weights_only=True)`` reads it; ``load`` returns an equal one. The functions run in the training's
    thread, so a slow one slows the training. What they raise is told and never raised: a checkpoint that could not
    be saved is none, and one that cannot be loaded, or whose tensors are not those that were saved, is refused.

    Args:
        save: keep a payload under a name such as ``step-00000200-1a2b3c4d``.
        load: give it back.
        remove: forget it; left out, nothing is ever removed.
        folder: a local folder for the journal and the index, so that a killed training can be taken up.
        clock: seconds since 1970, for ``saved_at``.

    Raises:
        FolderUnusable: the folder cannot be made or written.
    """

    place: Place = "other"

    def __init__(
        self,
        save: Callable[[dict[str, Any], str], object],
        load: Callable[[str], dict[str, Any]],
        *,
        remove: Callable[[str], object] | None = None,
        folder: str | os.PathLike[str] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._save, self._load, self._remove = save, load, remove
        self.folder = usable_folder(folder) if folder is not None else None
        self._clock = clock
        self._news: list[CheckpointNews] = []
        self._kept: dict[UUID, _Entry] = {one.checkpoint_id: one for one in self._read_index().entries}

    def save(self, snapshot: Snapshot, *, checkpoint_id: UUID, attempt: int, step: int) -> int:
        """Call the user's ``save``; see `Checkpoints.save`."""
        payload, size = snapshot.payload(), snapshot.size_bytes
        record = CheckpointRecord(checkpoint_id, attempt, step, "candidate", self._clock(), size, self.place)
        entry = _Entry(
            checkpoint_id=checkpoint_id,
            name=f"step-{step:08d}-{checkpoint_id.hex[:8]}",
            attempt=attempt,
            step=step,
            saved_at=record.saved_at,
            size_bytes=size,
            tensors=_checksum(payload),
        )
        try:
            self._save(payload, entry.name)
            self._kept[checkpoint_id] = entry
            self._write_index()
        except Exception as error:
            self._kept.pop(checkpoint_id, None)
            reason = f"the function to save failed for step {step}: {type(error).__name__}: {error}"
            self._news.append(CheckpointNews("failed", record, reason))
            return 0
        self._news.append(CheckpointNews("saved", record))
        return size

    def load(self, checkpoint_id: UUID) -> Snapshot:
        """Call the user's ``load``, and compare every tensor with what was saved."""
        self.verify(checkpoint_id)
        entry = self._kept[checkpoint_id]
        try:
            payload = self._load(entry.name)
        except Exception as error:
            raise CheckpointInvalid(
                f"the function to load failed for {entry.name!r} ({type(error).__name__}: {error}); use an older one"
            ) from error
        snapshot = Snapshot.from_payload(payload)
        if _checksum(payload) != entry.tensors:
            raise CheckpointInvalid(f"what was loaded as {entry.name!r} is not what was saved; use an older checkpoint")
        return snapshot

    def verify(self, checkpoint_id: UUID) -> None:
        """That it was saved and not removed; whether it can be loaded, only loading tells."""
        if checkpoint_id not in self._kept:
            raise CheckpointInvalid(f"checkpoint {checkpoint_id} was not saved here, or was removed")

    def exists(self, checkpoint_id: UUID) -> bool:
        """See `Checkpoints.exists`."""
        return checkpoint_id in self._kept

    def remove(self, checkpoint_id: UUID) -> None:
        """Call the user's ``remove``; a failure leaves litter and nothing worse, so it is not told."""
        entry = self._kept.pop(checkpoint_id, None)
        if entry is None:
            return
        try:
            self._write_index()
            if self._remove is not None:
                self._remove(entry.name)
        except Exception:
            return

    def entries(self) -> list[CheckpointRecord]:
        """See `Checkpoints.entries`."""
        found = [
            CheckpointRecord(
                one.checkpoint_id, one.attempt, one.step, "candidate", one.saved_at, one.size_bytes, self.place
            )
            for one in self._kept.values()
        ]
        return sorted(found, key=lambda record: (record.step, record.saved_at))

    def news(self) -> list[CheckpointNews]:
        """See `Checkpoints.news`."""
        news, self._news = self._news, []
        return news

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Nothing is ever under way."""
        return True

    def close(self) -> None:
        """Nothing to let go of: what was kept is the user's."""

    def _read_index(self) -> _Index:
        if self.folder is None:
            return _Index()
        try:
            return _Index.model_validate_json((self.folder / "index.json").read_bytes())
        except (OSError, ValidationError):
            # Nothing known is nothing confirmed: the journal's ledger finds them gone, and says so.
            return _Index()

    def _write_index(self) -> None:
        if self.folder is not None:
            text = _Index(entries=tuple(self._kept.values())).model_dump_json(indent=1).encode()
            write_bytes_durably(self.folder / "index.json", text)


def _checksum(payload: dict[str, Any]) -> str:
    return checksum_of_tensors(walk_tensors(payload))
