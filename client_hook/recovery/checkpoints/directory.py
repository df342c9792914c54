"""Checkpoints in a folder: one file each with its manifest beside it, whole or not there.

`step-00000200-1a2b3c4d.pt` is written first under a temporary name; then its manifest with the SHA-256; then the
file gets its name. So a checkpoint that has its name has its manifest and every byte, whatever happened after.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

import torch
from pydantic import ValidationError

from client_hook.durable_file import fsync_folder, remove_leftovers, temporary_name, write_bytes_durably
from client_hook.recovery.checkpoints.background_store import BackgroundStore, first_line
from client_hook.recovery.checkpoints.base import CheckpointRecord
from client_hook.recovery.checkpoints.manifest import Manifest
from client_hook.recovery.errors import CheckpointInvalid
from client_hook.recovery.folder import usable_folder
from client_hook.recovery.snapshot import Snapshot
from client_hook.recovery.storable import find_unstorable

_OLDER = "use an older checkpoint"


def checked_file(folder: Path, manifest: Manifest) -> Path:
    """The checkpoint's file, every byte of which was compared. Raises `CheckpointInvalid`."""
    path = folder / manifest.file
    try:
        digest = hashlib.sha256()
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise CheckpointInvalid(f"'{path}' cannot be read ({error.strerror}); {_OLDER}") from error
    if digest.hexdigest() != manifest.sha256:
        raise CheckpointInvalid(f"'{path}' is torn or was changed since it was written; {_OLDER}")
    return path


def read_snapshot(path: Path) -> Snapshot:
    """What the file holds. Raises `CheckpointInvalid`."""
    try:
        return Snapshot.from_payload(torch.load(path, map_location="cpu", weights_only=True))
    except CheckpointInvalid as error:
        raise CheckpointInvalid(f"'{path}': {error}") from error
    except Exception as error:  # whatever bytes of another torch, or of nobody we know, make the reader raise
        raise CheckpointInvalid(f"'{path}' cannot be read ({first_line(error)}); {_OLDER}") from error


class DirectoryCheckpoints(BackgroundStore):
    """A store in ``folder``, which is made if its parent exists.

    Args:
        folder: where; open the folder's `Journal` first, whose lock keeps a second trainer out.
        background: write in a thread. ``save`` then returns at once, and a save that comes while
            ``queue`` others wait is refused and told by ``news``.
        queue: how many snapshots may wait in memory to be written.
        clock: seconds since 1970, for ``saved_at``.

    Raises:
        FolderUnusable: the folder cannot be made or written.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        background: bool = False,
        queue: int = 1,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.folder = usable_folder(folder)
        self._kept: dict[UUID, Manifest] = {}
        remove_leftovers(self.folder)
        self._read_folder()
        super().__init__(background=background, queue=queue, clock=clock)

    def _read_folder(self) -> None:
        for path in self.folder.glob("step-*.json"):
            try:
                manifest = Manifest.model_validate_json(path.read_bytes())
            except (OSError, ValidationError):
                continue  # not ours, or unreadable now: left where it is
            if (self.folder / manifest.file).is_file():
                self._kept[manifest.checkpoint_id] = manifest
            elif path.name == manifest.name:
                # The process died between the manifest and the renaming, or between the two removals.
                with contextlib.suppress(OSError):
                    path.unlink()

    def _write(self, record: CheckpointRecord, snapshot: Snapshot) -> int:
        try:
            manifest = self._write_files(record, snapshot)
        except Exception as error:  # the disk, or a state that cannot be pickled: told, not raised
            where = _describe_unstorable(snapshot) if not isinstance(error, OSError) else None
            reason = where or f"{type(error).__name__}: {error}"
            self._tell(
                "failed", record, f"'{self.folder}' could not take the checkpoint of step {record.step}: {reason}"
            )
            return 0
        with self._lock:
            self._kept[record.checkpoint_id] = manifest
        self._tell("saved", manifest.record())
        return manifest.size_bytes

    def _write_files(self, record: CheckpointRecord, snapshot: Snapshot) -> Manifest:
        name = f"step-{record.step:08d}-{record.checkpoint_id.hex[:8]}.pt"
        unstorable = _describe_unstorable(snapshot)
        if unstorable is not None:
            # Written it could be, but never read: better told now than at the rollback.
            raise ValueError(unstorable)
        path = self.folder / name
        temporary = temporary_name(path)
        try:
            with open(temporary, "wb") as file:
                hashing = _HashingFile(file)
                torch.save(snapshot.payload(), hashing)  # type: ignore[arg-type]
                file.flush()
                os.fsync(file.fileno())
            manifest = Manifest(
                checkpoint_id=record.checkpoint_id,
                attempt=record.attempt,
                step=record.step,
                saved_at=record.saved_at,
                file=name,
                size_bytes=hashing.size_bytes,
                sha256=hashing.digest.hexdigest(),
                torch_version=str(torch.__version__),
            )
            text = manifest.model_dump_json(indent=2).encode()
            write_bytes_durably(self.folder / manifest.name, text)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            if not path.exists():
                with contextlib.suppress(OSError):
                    path.with_suffix(".json").unlink(missing_ok=True)
            raise
        fsync_folder(self.folder)
        return manifest

    def load(self, checkpoint_id: UUID) -> Snapshot:
        """Read it, the checksum first; see `Checkpoints.load`. One still on its way comes from memory."""
        on_its_way = self._snapshot_on_its_way(checkpoint_id)
        return on_its_way if on_its_way is not None else read_snapshot(self._checked(checkpoint_id))

    def verify(self, checkpoint_id: UUID) -> None:
        """Read the file and compare its SHA-256 with the manifest; see `Checkpoints.verify`."""
        if self._snapshot_on_its_way(checkpoint_id) is None:
            self._checked(checkpoint_id)

    def _checked(self, checkpoint_id: UUID) -> Path:
        with self._lock:
            manifest = self._kept.get(checkpoint_id)
        if manifest is None:
            raise CheckpointInvalid(f"checkpoint {checkpoint_id} is not in '{self.folder}'; use one that is there")
        return checked_file(self.folder, manifest)

    def exists(self, checkpoint_id: UUID) -> bool:
        """See `Checkpoints.exists`."""
        with self._lock:
            return checkpoint_id in self._pending or checkpoint_id in self._kept

    def _delete(self, checkpoint_id: UUID) -> None:
        with self._lock:
            manifest = self._kept.pop(checkpoint_id, None)
        if manifest is not None:
            for name in (manifest.file, manifest.name):  # a manifest without its file is cleaned up at a start
                with contextlib.suppress(OSError):
                    (self.folder / name).unlink()

    def _stored(self) -> list[CheckpointRecord]:
        with self._lock:
            return [one.record() for one in self._kept.values()]


class _HashingFile:
    """What is written goes to the file and into the checksum: no second reading."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.size_bytes = 0

    def write(self, block: bytes) -> int:
        self.digest.update(block)
        self.size_bytes += len(block)
        return self._file.write(block)

    def flush(self) -> None:
        self._file.flush()


def _describe_unstorable(snapshot: Snapshot) -> str | None:
    parts = {**snapshot.payload(), "state": None}
    for where, part in [*parts.items(), *((f"state[{name!r}]", each) for name, each in snapshot.state.items())]:
        found = find_unstorable(part, where)
        if found is not None:
            return f"{found}; let state_dict return tensors, numbers, strings, lists and dictionaries"
    return None
