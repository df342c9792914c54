"""What every store promises, whatever it is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import torch

from client_hook.recovery.checkpoints import (
    CheckpointInvalid,
    Checkpoints,
    DirectoryCheckpoints,
    FunctionCheckpoints,
    LayeredCheckpoints,
    MemoryCheckpoints,
    ReplicaCheckpoints,
)
from client_hook.recovery.checkpoints.distributed import DistributedCheckpoints
from client_hook.recovery.snapshot import Snapshot
from tests.client_hook.recovery.checkpoints.snapshots import save, snapshot_of, value_of


class Replica(ReplicaCheckpoints):
    """One rank's part, together with the rank 0 that writes the rest."""

    def __init__(self, folder: Path) -> None:
        self.leader = DirectoryCheckpoints(folder, clock=lambda: 7.0)
        super().__init__(folder / "rank-1", whole=folder, clock=lambda: 7.0, patience_seconds=0.1)

    def save(self, snapshot: Snapshot, *, checkpoint_id: UUID, attempt: int, step: int) -> int:
        self.leader.save(snapshot, checkpoint_id=checkpoint_id, attempt=attempt, step=step)
        super().save(snapshot, checkpoint_id=checkpoint_id, attempt=attempt, step=step)
        return snapshot.size_bytes


STORES: dict[str, Callable[[Path], Checkpoints]] = {
    "memory": lambda folder: MemoryCheckpoints(clock=lambda: 7.0),
    "folder": lambda folder: DirectoryCheckpoints(folder, clock=lambda: 7.0),
    "replica": Replica,
    "distributed": lambda folder: DistributedCheckpoints(folder, background=False, clock=lambda: 7.0),
    "distributed-in-background": lambda folder: DistributedCheckpoints(folder, queue=8, clock=lambda: 7.0),
    "memory-over-folder": lambda folder: LayeredCheckpoints(
        DirectoryCheckpoints(folder, clock=lambda: 7.0), MemoryCheckpoints(clock=lambda: 7.0)
    ),
    "functions": lambda folder: _functions(folder),
    "folder-in-background": lambda folder: DirectoryCheckpoints(folder, background=True, queue=8, clock=lambda: 7.0),
}


def _functions(folder: Path) -> FunctionCheckpoints:
    return FunctionCheckpoints(
        save=lambda payload, name: torch.save(payload, folder / name),
        load=lambda name: torch.load(folder / name, weights_only=True),
        remove=lambda name: (folder / name).unlink(),
        folder=folder / "index",
        clock=lambda: 7.0,
    )


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Checkpoints]:
    made = STORES[request.param](tmp_path)
    yield made
    made.close()


def test_it_has_the_shape_of_a_store(store: Checkpoints) -> None:
    assert isinstance(store, Checkpoints)
    assert store.place in ("disk", "memory", "other")


@pytest.mark.parametrize("waits", [False, True])
def test_what_was_saved_can_be_loaded_at_once_and_later(store: Checkpoints, waits: bool) -> None:
    ids = [save(store, step) for step in (1, 2, 3)]
    if waits:
        assert store.wait(60)
    for step, checkpoint_id in enumerate(ids, start=1):
        store.verify(checkpoint_id)
        assert store.exists(checkpoint_id)
        assert value_of(store.load(checkpoint_id)) == step


def test_saving_is_told_once(store: Checkpoints) -> None:
    checkpoint_id = save(store, 4, attempt=2)
    assert store.wait(60)
    (news,) = store.news()
    assert (news.kind, news.record.checkpoint_id, news.record.step) == ("saved", checkpoint_id, 4)
    assert (news.record.attempt, news.record.saved_at, news.record.place) == (2, 7.0, store.place)
    assert news.record.size_bytes > 0
    assert store.news() == []


def test_saving_says_how_large_it_is(store: Checkpoints) -> None:
    size = store.save(snapshot_of(1.0, elements=1000), checkpoint_id=uuid4(), attempt=0, step=1)
    assert size >= 4000


def test_entries_come_by_step(store: Checkpoints) -> None:
    for step in (5, 3, 4):
        save(store, step)
    assert [record.step for record in store.entries()] == [3, 4, 5]
    assert store.wait(60)
    assert [(record.step, record.state) for record in store.entries()] == [(step, "candidate") for step in (3, 4, 5)]


def test_what_is_not_there_is_invalid_and_can_be_removed_all_the_same(store: Checkpoints) -> None:
    unknown = uuid4()
    assert not store.exists(unknown)
    with pytest.raises(CheckpointInvalid):
        store.load(unknown)
    with pytest.raises(CheckpointInvalid):
        store.verify(unknown)
    store.remove(unknown)


@pytest.mark.parametrize("waits", [False, True])
def test_what_was_removed_is_gone_and_the_rest_stays(store: Checkpoints, waits: bool) -> None:
    first, second = save(store, 1), save(store, 2)
    if waits:
        assert store.wait(60)
    store.remove(first)
    assert store.wait(60)
    assert not store.exists(first)
    with pytest.raises(CheckpointInvalid):
        store.load(first)
    assert value_of(store.load(second)) == 2
    assert [record.checkpoint_id for record in store.entries()] == [second]


def test_closing_twice_is_fine(store: Checkpoints) -> None:
    save(store, 1)
    store.close()
    store.close()
