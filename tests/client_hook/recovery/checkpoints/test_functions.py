"""Checkpoints that somebody's own functions keep."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

import client_hook
from client_hook.recovery.checkpoints import CheckpointInvalid, FunctionCheckpoints
from tests.client_hook.little_training import LittleTraining
from tests.client_hook.recovery.checkpoints.snapshots import save, value_of


class Bucket:
    """Somebody's storage, which outlives the process."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}
        self.is_full = False

    def save(self, payload: dict[str, Any], name: str) -> None:
        if self.is_full:
            raise OSError("the bucket is full")
        self.kept[name] = copy.deepcopy(payload)

    def load(self, name: str) -> dict[str, Any]:
        return copy.deepcopy(self.kept[name])

    def store(self, folder: Path) -> FunctionCheckpoints:
        return FunctionCheckpoints(self.save, self.load, remove=self.kept.__delitem__, folder=folder)


def test_what_came_back_changed_or_not_at_all_is_refused(tmp_path: Path) -> None:
    bucket = Bucket()
    store = bucket.store(tmp_path / "c")
    first, second = save(store, 1), save(store, 2)
    name, other = sorted(bucket.kept)
    bucket.kept[name]["model"]["parameters"]["weight"][0] = 9.0
    with pytest.raises(CheckpointInvalid, match="is not what was saved"):
        store.load(first)
    del bucket.kept[other]
    with pytest.raises(CheckpointInvalid, match="the function to load failed"):
        store.load(second)


def test_what_could_not_be_saved_is_told_and_is_no_checkpoint(tmp_path: Path) -> None:
    bucket = Bucket()
    bucket.is_full = True
    store = bucket.store(tmp_path / "c")
    checkpoint_id = save(store, 1)
    [news] = store.news()
    assert (news.kind, store.exists(checkpoint_id)) == ("failed", False)
    assert "OSError: the bucket is full" in news.reason


def test_another_process_finds_them_by_the_index(tmp_path: Path) -> None:
    bucket = Bucket()
    checkpoint_id: UUID = save(bucket.store(tmp_path / "c"), 3)
    assert value_of(bucket.store(tmp_path / "c").load(checkpoint_id)) == 3


def test_a_training_that_was_killed_is_taken_up_from_somebodys_own_storage(tmp_path: Path) -> None:
    bucket = Bucket()

    def trained(until: int) -> client_hook.TrainingHook:
        training = LittleTraining()
        hook = training.attach(mode="act", checkpoints=bucket.store(tmp_path / "c"), checkpoint_every=20)
        for _ in hook.steps(until):
            loss = training.gradients()
            training.update()
            hook.observe(loss)
        return hook

    first = trained(90)
    first.detach()
    first._journal.close()
    second = trained(100)
    assert (second.run_id, second.attempt) == (first.run_id, 1)
    second.close()
