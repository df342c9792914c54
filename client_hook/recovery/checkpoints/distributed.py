"""Checkpoints of a sharded model in the format of ``torch.distributed.checkpoint``, a folder each.

``step-00000200-1a2b3c4d/`` is written under a temporary name by all ranks; each adds a manifest of its files with their
SHA-256; then rank 0 gives the folder its name. So a folder that has its name is whole on every rank.

Who has only ever the same ranks needs none of this: given a folder, ``attach`` keeps each rank's shards in a file of
its own, and no rank waits for another. This store is for runs that are taken up with another number of ranks, and for
tools that read torch's format. Its ``.metadata`` is a pickle, as torch makes it: load only from a folder you trust.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import os
import pickle
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner, DefaultSavePlanner
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter

from client_hook.durable_file import fsync_folder, write_durably
from client_hook.ranks import Board, BoardUnreachable, Ranks
from client_hook.recovery.checkpoints.background_writer import BackgroundWriter
from client_hook.recovery.checkpoints.base import CheckpointNews, CheckpointRecord, Place
from client_hook.recovery.checkpoints.layouts import Layout
from client_hook.recovery.errors import CheckpointInvalid
from client_hook.recovery.folder import usable_folder
from client_hook.recovery.snapshot import Snapshot

_OLDER = "use an older checkpoint"


class PartManifest(BaseModel):
    """``rank-0.json``, …: what one rank has written of a checkpoint."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    written_by: Literal["trainguard"] = "trainguard"
    version: Annotated[int, Field(ge=1, le=1)] = 1
    checkpoint_id: UUID
    attempt: Annotated[int, Field(ge=0)]
    step: Annotated[int, Field(ge=0)]
    saved_at: float
    rank: Annotated[int, Field(ge=0)]
    ranks: Annotated[int, Field(ge=1)]
    sha256: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]]
    """By file name, bare."""
    size_bytes: Annotated[int, Field(ge=0)]
    torch_version: str = ""

    def record(self) -> CheckpointRecord:
        """As the ledger knows it."""
        return CheckpointRecord(
            self.checkpoint_id, self.attempt, self.step, "candidate", self.saved_at, self.size_bytes, "disk"
        )


class DistributedCheckpoints:
    """A store in ``folder``, which all ranks see.

    Args:
        folder: where; made if its parent exists. ``attach`` keeps the run's journal there.
        background: write in a thread; ``save`` then returns at once.
        queue: how many snapshots may wait in memory to be written.
        clock: seconds since 1970, for ``saved_at``.
        patience_seconds: how long ranks wait for each other in one save; a rank that took no part fails it for all.

    Raises:
        FolderUnusable: the folder cannot be made or written.
    """

    place: Place = "disk"

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        background: bool = True,
        queue: int = 1,
        clock: Callable[[], float] = time.time,
        patience_seconds: float = 120.0,
    ) -> None:
        self.folder = usable_folder(folder)
        self._clock = clock
        self._queue = queue
        self._patience_seconds = patience_seconds
        self._lock = threading.Lock()
        self._news: list[CheckpointNews] = []
        self._pending: dict[UUID, tuple[CheckpointRecord, Snapshot]] = {}
        self._ranks: Ranks | None = None
        self._layouts: Callable[[], Mapping[str, Layout]] = dict
        self._writer = BackgroundWriter("trainguard-checkpoints") if background else None

    def bind(self, layouts: Callable[[], Mapping[str, Layout]], ranks: Ranks | None) -> None:
        """On every rank at the same moment, by ``attach``: how the tensors are spread, and over whom."""
        self._layouts = layouts
        self._ranks = ranks

    @property
    def _rank(self) -> int:
        return 0 if self._ranks is None else self._ranks.rank

    @property
    def _size(self) -> int:
        return 1 if self._ranks is None else self._ranks.size

    # -- saving ---------------------------------------------------------------------------------------------------

    def save(self, snapshot: Snapshot, *, checkpoint_id: UUID, attempt: int, step: int) -> int:
        """Write it with the other ranks, or hand it to the writer's thread; see `Checkpoints.save`."""
        size = snapshot.size_bytes
        record = CheckpointRecord(checkpoint_id, attempt, step, "candidate", self._clock(), size, self.place)
        if self._writer is None:
            return size if self._write(record, snapshot) else 0
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
            return  # removed before it was begun; the other ranks have removed it as well, or find out
        self._write(*pending)
        with self._lock:
            was_removed = self._pending.pop(checkpoint_id, None) is None
        if was_removed:
            self._delete(checkpoint_id)

    def _write(self, record: CheckpointRecord, snapshot: Snapshot) -> bool:
        temporary = self.folder / f".{_name_of(record)}.part"
        try:
            self._write_folder(record, snapshot, temporary)
        except Exception as error:  # the disk, a state that cannot be written, a rank that is gone: told, not raised
            if self._rank == 0:
                shutil.rmtree(temporary, ignore_errors=True)
            reason = f"'{self.folder}' could not take the checkpoint of step {record.step}: {_first_line(error)}"
            self._tell("failed", record, reason)
            return False
        self._tell("saved", record)
        return True

    def _write_folder(self, record: CheckpointRecord, snapshot: Snapshot, temporary: Path) -> None:
        if self._rank == 0:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
        self._exchange(record, "begun", True)
        self._write_tensors(record, self._tensors(snapshot), temporary)
        self._write_manifest(record, temporary)
        self._exchange(record, "written", True)
        if self._rank == 0:
            os.replace(temporary, self.folder / _name_of(record))
            fsync_folder(self.folder)
        self._exchange(record, "named", True)

    def _write_tensors(self, record: CheckpointRecord, tensors: dict[str, Any], folder: Path) -> None:
        """As `torch.distributed.checkpoint.save`, but plans and results travel by the board: no collective."""
        writer, planner, leads = FileSystemWriter(folder), DefaultSavePlanner(), self._rank == 0
        planner.set_up_planner(tensors, writer.storage_meta(), leads)
        writer.set_up_storage_writer(leads)
        plans = self._exchange(record, "plan", writer.prepare_local_plan(planner.create_local_plan()))
        metadata: Any = None
        if leads:
            plans, metadata = planner.create_global_plan(plans)
            plans = writer.prepare_global_plan(plans)
        plan = self._exchange(record, "global plan", plans if leads else None)[0][self._rank]
        written = writer.write_data(planner.finish_plan(plan), planner).wait()
        results = self._exchange(record, "results", written)
        if leads:
            writer.finish(metadata, results)

    def _tensors(self, snapshot: Snapshot) -> dict[str, Any]:
        """What torch's format is given: shards as parts of their whole, and all the rest as this rank's own.

        A tensor that is not spread is not known to be the same on all ranks, so with several each keeps its own.
        """
        payload, layouts = snapshot.payload(), self._layouts()
        tensors: dict[str, Any] = {}

        def leave(owner: str, values: Any, prefix: str) -> Any:
            """``values`` without the tensors that go into ``tensors``."""
            left = dict(values)
            layout = layouts.get(owner)
            for name, tensor in values.items():
                if not isinstance(name, str) or not isinstance(tensor, Tensor) or tensor.dim() == 0 or "/" in name:
                    continue
                if layout is not None and tensor.shape == layout.local_shape:
                    tensors[f"{prefix}/{name}"] = layout.spread(tensor)
                elif self._ranks is None:
                    tensors[f"{prefix}/{name}"] = tensor
                else:
                    continue
                del left[name]
            return left

        parameters = dict(snapshot.model["parameters"])
        for name in list(parameters):
            if not leave(f"model/{name}", {name: parameters[name]}, "model"):
                del parameters[name]
        payload["model"] = {**payload["model"], "parameters": parameters}
        payload["optimizers"] = [
            {
                **optimizer,
                "state": {
                    key: leave(f"optimizers/{index}/{key}", values, f"optimizers/{index}/{key}")
                    if isinstance(key, int) and isinstance(values, dict)
                    else values
                    for key, values in optimizer["state"].items()
                },
            }
            for index, optimizer in enumerate(snapshot.optimizers)
        ]
        names = list(tensors)
        buffer = io.BytesIO()
        torch.save({"payload": payload, "tensors": names}, buffer)
        tensors[f"rank/{self._rank}"] = torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8)
        return tensors

    def _write_manifest(self, record: CheckpointRecord, folder: Path) -> None:
        mine = sorted(folder.glob(f"__{self._rank}_*.distcp"))
        mine += [folder / ".metadata"] if self._rank == 0 else []
        manifest = PartManifest(
            checkpoint_id=record.checkpoint_id,
            attempt=record.attempt,
            step=record.step,
            saved_at=record.saved_at,
            rank=self._rank,
            ranks=self._size,
            sha256={path.name: _sha256(path) for path in mine},
            size_bytes=sum(path.stat().st_size for path in mine),
            torch_version=str(torch.__version__),
        )
        text = manifest.model_dump_json(indent=2).encode()
        write_durably(folder / f"rank-{self._rank}.json", lambda out: _write_all(out, text))

    def _exchange(self, record: CheckpointRecord, moment: str, mine: Any) -> list[Any]:
        """What every rank has to say at this moment of this save, by rank. Raises where one takes no part."""
        ranks = self._ranks
        if ranks is None:
            return [mine]
        prefix = f"save/{record.checkpoint_id}/{moment}"
        said: dict[int, str] = {}
        # Plans are objects of torch, which sends them as pickles between the ranks of a run as well.
        text = base64.b64encode(pickle.dumps(mine)).decode()
        ranks.ask(lambda board: board.put(f"{prefix}/{ranks.rank}", text))

        def look(board: Board) -> bool | None:
            for rank in range(ranks.size):
                if rank not in said:
                    word = board.look(f"{prefix}/{rank}")
                    if word is None:
                        return None
                    said[rank] = word
            return True

        if ranks.wait_for(look, seconds=self._patience_seconds) is None:
            missing = sorted(set(range(ranks.size)) - set(said))
            raise BoardUnreachable(f"ranks {missing} took no part in it")
        return [pickle.loads(base64.b64decode(said[rank])) for rank in range(ranks.size)]

    # -- reading --------------------------------------------------------------------------------------------------

    def load(self, checkpoint_id: UUID) -> Snapshot:
        """This rank's shards, by its present layout; see `Checkpoints.load`. No other rank is asked."""
        with self._lock:
            pending = self._pending.get(checkpoint_id)
        if pending is not None:
            return pending[1]
        folder = self._checked(checkpoint_id)
        try:
            return self._read(folder)
        except CheckpointInvalid as error:
            raise CheckpointInvalid(f"'{folder}': {error}") from error
        except Exception as error:  # whatever bytes of another torch, or of nobody we know, make the reader raise
            raise CheckpointInvalid(f"'{folder}' cannot be read ({_first_line(error)}); {_OLDER}") from error

    def _read(self, folder: Path) -> Snapshot:
        known: Mapping[str, Any] = FileSystemReader(folder).read_metadata().state_dict_metadata
        # A rank that is new since then begins with the random streams and buffers of rank 0.
        own = f"rank/{self._rank}" if f"rank/{self._rank}" in known else "rank/0"
        blob = {own: torch.empty(known[own].size, dtype=torch.uint8)}
        _read_tensors(folder, blob)
        part = torch.load(io.BytesIO(blob[own].numpy().tobytes()), weights_only=True, map_location="cpu")
        layouts = self._layouts()
        tensors: dict[str, Any] = {}
        for key in part["tensors"]:
            dtype, size = known[key].properties.dtype, known[key].size
            layout = layouts.get(_owner(key))
            whole = layout is None or layout.shape != size
            tensors[key] = torch.empty(size, dtype=dtype) if layout is None or whole else layout.empty(dtype)
        _read_tensors(folder, tensors)
        payload = part["payload"]
        for key, tensor in tensors.items():
            shard = tensor.to_local() if hasattr(tensor, "to_local") else tensor
            kind, rest = key.split("/", 1)
            if kind == "model":
                payload["model"]["parameters"][rest] = shard
            else:
                index, owner, name = rest.split("/", 2)
                payload["optimizers"][int(index)]["state"][int(owner)][name] = shard
        return Snapshot.from_payload(payload)

    def verify(self, checkpoint_id: UUID) -> None:
        """Compare this rank's files with their manifests; see `Checkpoints.verify`."""
        with self._lock:
            is_pending = checkpoint_id in self._pending
        if not is_pending:
            self._checked(checkpoint_id)

    def _checked(self, checkpoint_id: UUID) -> Path:
        folder = self._find(checkpoint_id)
        if folder is None:
            raise CheckpointInvalid(f"checkpoint {checkpoint_id} is not in '{self.folder}'; use one that is there")
        first = _manifest(folder / "rank-0.json")
        # Each rank looks at its own part, all together at all of them, also where they are fewer or more than then.
        for rank in range(self._rank, 1 if first is None else first.ranks, self._size):
            manifest = _manifest(folder / f"rank-{rank}.json")
            if manifest is None or manifest.checkpoint_id != checkpoint_id:
                raise CheckpointInvalid(f"the part of rank {rank} in '{folder}' has no manifest; {_OLDER}")
            for name, expected in manifest.sha256.items():
                try:
                    is_same = _sha256(folder / name) == expected
                except OSError as error:
                    raise CheckpointInvalid(f"'{folder / name}' cannot be read ({error.strerror}); {_OLDER}") from error
                if not is_same:
                    raise CheckpointInvalid(f"'{folder / name}' is torn or was changed since it was written; {_OLDER}")
        return folder

    def _find(self, checkpoint_id: UUID) -> Path | None:
        for folder in self.folder.glob(f"step-*-{checkpoint_id.hex[:8]}"):
            manifest = _manifest(folder / "rank-0.json")
            if manifest is not None and manifest.checkpoint_id == checkpoint_id:
                return folder
        return None

    def exists(self, checkpoint_id: UUID) -> bool:
        """See `Checkpoints.exists`."""
        with self._lock:
            is_pending = checkpoint_id in self._pending
        return is_pending or self._find(checkpoint_id) is not None

    def remove(self, checkpoint_id: UUID) -> None:
        """See `Checkpoints.remove`; rank 0 does it for all."""
        with self._lock:
            self._pending.pop(checkpoint_id, None)
        if self._writer is None or not self._writer.give(lambda: self._delete(checkpoint_id)):
            self._delete(checkpoint_id)

    def _delete(self, checkpoint_id: UUID) -> None:
        folder = self._find(checkpoint_id) if self._rank == 0 else None
        if folder is not None:
            gone = folder.with_name(f".{folder.name}.gone")
            with contextlib.suppress(OSError):
                os.replace(folder, gone)  # at once: half a checkpoint must not have its name
            shutil.rmtree(gone, ignore_errors=True)

    def entries(self) -> list[CheckpointRecord]:
        """See `Checkpoints.entries`; those on their way are among them."""
        manifests = [_manifest(path) for path in self.folder.glob("step-*/rank-0.json")]
        records = {one.checkpoint_id: one.record() for one in manifests if one is not None}
        with self._lock:
            records.update({checkpoint_id: record for checkpoint_id, (record, _) in self._pending.items()})
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


def _read_tensors(folder: Path, tensors: dict[str, Any]) -> None:
    """Fill ``tensors`` in place. What `torch.distributed.checkpoint.load` does, without asking another rank."""
    reader, planner = FileSystemReader(folder), DefaultLoadPlanner()
    metadata = reader.read_metadata()
    planner.set_up_planner(tensors, metadata, True)
    reader.set_up_storage_reader(metadata, True)
    [plan] = planner.create_global_plan([reader.prepare_local_plan(planner.create_local_plan())])
    [plan] = reader.prepare_global_plan([plan])
    reader.read_data(planner.finish_plan(plan), planner).wait()


def _name_of(record: CheckpointRecord) -> str:
    return f"step-{record.step:08d}-{record.checkpoint_id.hex[:8]}"


def _owner(key: str) -> str:
    """Whose layout a tensor has: its own, or that of the parameter whose moment it is."""
    return key if key.startswith("model/") else key.rsplit("/", 1)[0]


def _manifest(path: Path) -> PartManifest | None:
    try:
        return PartManifest.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None  # not ours, or unreadable now: left where it is


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _write_all(out: Any, text: bytes) -> None:
    out.write(text)


def _first_line(error: Exception) -> str:
    words = str(error).strip()
    return f"{type(error).__name__}: {words.splitlines()[0][:200] if words else ''}"
