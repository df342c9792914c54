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

from client_hook.durable_file import fsync_folder, write_bytes_durably
from client_hook.ranks import Board, BoardUnreachable, Ranks
from client_hook.recovery.checkpoints.background_store import BackgroundStore, first_line
from client_hook.recovery.checkpoints.base import CheckpointRecord
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


class DistributedCheckpoints(BackgroundStore):
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
        self._patience_seconds = patience_seconds
        self._ranks: Ranks | None = None
        self._layouts: Callable[[], Mapping[str, Layout]] = dict
        super().__init__(background=background, queue=queue, clock=clock)

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

    def _write(self, record: CheckpointRecord, snapshot: Snapshot) -> int:
        temporary = self.folder / f".{_name_of(record)}.part"
        try:
            self._write_folder(record, snapshot, temporary)
        except Exception as error:  # the disk, a state that cannot be written, a rank that is gone: told, not raised
            if self._rank == 0:
                shutil.rmtree(temporary, ignore_errors=True)
            reason = f"'{self.folder}' could not take the checkpoint of step {record.step}: {first_line(error)}"
            self._tell("failed", record, reason)
            return 0
        self._tell("saved", record)
        return record.size_bytes

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
        write_bytes_durably(folder / f"rank-{self._rank}.json", text)

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
        on_its_way = self._snapshot_on_its_way(checkpoint_id)
        if on_its_way is not None:
            return on_its_way
        folder = self._checked(checkpoint_id)
        try:
            return self._read(folder)
        except CheckpointInvalid as error:
            raise CheckpointInvalid(f"'{folder}': {error}") from error
        except Exception as error:  # whatever bytes of another torch, or of nobody we know, make the reader raise
            raise CheckpointInvalid(f"'{folder}' cannot be read ({first_line(error)}); {_OLDER}") from error

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
        if self._snapshot_on_its_way(checkpoint_id) is None:
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
        return self._snapshot_on_its_way(checkpoint_id) is not None or self._find(checkpoint_id) is not None

    def _delete(self, checkpoint_id: UUID) -> None:
        # Rank 0 does it for all.
        folder = self._find(checkpoint_id) if self._rank == 0 else None
        if folder is not None:
            gone = folder.with_name(f".{folder.name}.gone")
            with contextlib.suppress(OSError):
                os.replace(folder, gone)  # at once: half a checkpoint must not have its name
            shutil.rmtree(gone, ignore_errors=True)

    def _stored(self) -> list[CheckpointRecord]:
        manifests = [_manifest(path) for path in self.folder.glob("step-*/rank-0.json")]
        return [one.record() for one in manifests if one is not None]


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
