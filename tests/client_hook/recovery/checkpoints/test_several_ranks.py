"""What stores of several ranks promise besides: each part checked, and a save that one rank misses is none."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from torch.distributed import HashStore

from client_hook.ranks import Patience, Ranks
from client_hook.recovery.checkpoints import (
    CheckpointInvalid,
    CheckpointLedger,
    DirectoryCheckpoints,
    ReplicaCheckpoints,
)
from client_hook.recovery.checkpoints.distributed import DistributedCheckpoints
from client_hook.recovery.following_keeper import FollowingKeeper
from client_hook.recovery.snapshot import TrainingState
from tests.client_hook.little_training import LittleTraining
from tests.client_hook.recovery.checkpoints.snapshots import save, snapshot_of, value_of


def together(folder: Path, patience_seconds: float = 30.0) -> list[DistributedCheckpoints]:
    """Two ranks of one process group, as threads over a store in memory."""
    store, stores = HashStore(), []
    for rank in range(2):
        ranks = Ranks(store, rank, 2, patience=Patience())
        ranks.courier.start()
        made = DistributedCheckpoints(folder, background=False, patience_seconds=patience_seconds, clock=lambda: 7.0)
        made.bind(dict, ranks)
        stores.append(made)
    return stores


def at_once(*calls: Callable[[], object]) -> None:
    threads = [threading.Thread(target=call, daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)


def test_two_ranks_write_one_checkpoint_and_each_reads_its_own(tmp_path: Path) -> None:
    first, second = together(tmp_path)
    name = uuid4()
    at_once(
        lambda: first.save(snapshot_of(1.0), checkpoint_id=name, attempt=0, step=3),
        lambda: second.save(snapshot_of(2.0), checkpoint_id=name, attempt=0, step=3),
    )
    assert [news.kind for news in (*first.news(), *second.news())] == ["saved", "saved"]
    assert (value_of(first.load(name)), value_of(second.load(name))) == (1.0, 2.0)
    [folder] = [path for path in tmp_path.iterdir() if path.is_dir()]
    torn = next(folder.glob("__1_*.distcp"))
    torn.write_bytes(torn.read_bytes()[:-1])
    first.verify(name)  # its own part is whole; each looks at its own, all together at all
    with pytest.raises(CheckpointInvalid, match="is torn or was changed"):
        second.load(name)


def test_a_save_that_one_rank_misses_is_none(tmp_path: Path) -> None:
    first, _ = together(tmp_path, patience_seconds=0.3)
    assert first.save(snapshot_of(1.0), checkpoint_id=uuid4(), attempt=0, step=3) == 0
    [news] = first.news()
    assert news.kind == "failed"
    assert "ranks [1] took no part in it" in news.reason
    assert first.entries() == []
    assert not list(tmp_path.iterdir()), "nothing half-written stays"


def test_a_replica_is_only_as_good_as_what_rank_0_has_written(tmp_path: Path) -> None:
    leader = DirectoryCheckpoints(tmp_path)
    replica = ReplicaCheckpoints(tmp_path / "rank-1", whole=tmp_path, patience_seconds=0.1)
    early = save(replica, 3)
    with pytest.raises(CheckpointInvalid, match="of rank 0 is not in"):
        replica.load(early)
    both = uuid4()
    for store in (leader, replica):
        store.save(snapshot_of(5.0), checkpoint_id=both, attempt=0, step=5)
    assert value_of(replica.load(both)) == 5.0
    whole = next(tmp_path.glob("step-00000005-*.pt"))
    whole.write_bytes(whole.read_bytes()[:-1])
    with pytest.raises(CheckpointInvalid, match="is torn or was changed"):
        replica.load(both)


def test_a_following_keeper_lets_go_of_what_rank_0_let_go_and_of_nothing_else(tmp_path: Path) -> None:
    training, lost = LittleTraining(), []
    store = DirectoryCheckpoints(tmp_path)
    ledgers = iter([None, None])
    keeper = FollowingKeeper(
        state=TrainingState(training.model, training.optimizer),
        store=store,
        ledger=CheckpointLedger(),
        every=10,
        clock=lambda: 7.0,
        tell=lambda report: None,
        remember=lambda: None,
        lost=lambda checkpoint_id, reason: lost.append(reason),
        news=lambda: next(ledgers),
    )
    first, second = (keeper.save(attempt=0, next_step=step) for step in (10, 20))
    assert first is not None
    assert second is not None
    keeper.adopt([first])
    assert [record.step for record in store.entries()] == [10, 20], "rank 0 has not told of the second yet"
    keeper.adopt([second])
    assert [record.step for record in store.entries()] == [20]
    training.model[0].weight.data.fill_(float("nan"))  # type: ignore[index]
    assert keeper.save(attempt=0, next_step=30) is None
    assert "is not finite" in lost[0]
