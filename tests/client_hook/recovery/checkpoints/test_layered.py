"""Memory over disk: quick while the process lives, there when it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from client_hook.recovery.checkpoints import DirectoryCheckpoints, LayeredCheckpoints, MemoryCheckpoints
from client_hook.recovery.snapshot import Snapshot
from tests.client_hook.little_training import LittleTraining
from tests.client_hook.recovery.checkpoints.snapshots import save, value_of


def test_what_has_no_room_in_memory_is_loaded_from_disk(tmp_path: Path) -> None:
    store = LayeredCheckpoints(DirectoryCheckpoints(tmp_path), MemoryCheckpoints(max_bytes=5_000))
    first, second = save(store, 1, elements=1000), save(store, 2, elements=1000)
    assert (store.fast.exists(first), store.fast.exists(second)) == (False, True)
    assert [value_of(store.load(one)) for one in (first, second)] == [1, 2]
    assert [one.kind for one in store.news()] == ["saved", "saved"], "leaving the memory is no news"
    store.remove(second)
    assert (store.fast.exists(second), store.durable.exists(second)) == (False, False)


def test_a_copy_whose_file_could_not_be_written_is_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    durable = DirectoryCheckpoints(tmp_path, background=True)
    store = LayeredCheckpoints(durable, MemoryCheckpoints())
    monkeypatch.setattr(durable, "_write_files", refuse)
    checkpoint_id = save(store, 1)
    assert store.wait(60)
    assert [one.kind for one in store.news()] == ["failed"]
    assert not store.fast.exists(checkpoint_id)
    store.close()


def test_a_rollback_within_the_process_reads_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(self: object, checkpoint_id: object) -> Snapshot:
        raise AssertionError("the disk was read")

    monkeypatch.setattr(DirectoryCheckpoints, "load", never)
    training = LittleTraining()
    hook = training.attach(mode="act", checkpoints=tmp_path / "c", checkpoint_every=20, in_memory_bytes=10_000_000)
    outcome = None
    for step in hook.steps(200):
        loss = training.gradients()
        training.update()
        if step == 120:
            loss = loss * float("nan")
            next(training.model.parameters()).data.fill_(float("nan"))
        outcome = hook.observe(loss)
        if outcome.rolled_back:
            break
    hook.close()
    assert outcome is not None
    assert outcome.rolled_back
