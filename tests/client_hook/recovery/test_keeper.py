from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import torch
from torch import nn
from torch.optim import SGD

from client_hook.recovery.checkpoints import (
    CheckpointLedger,
    Checkpoints,
    DirectoryCheckpoints,
    MemoryCheckpoints,
)
from client_hook.recovery.keeper import CheckpointKeeper
from client_hook.recovery.snapshot import TrainingState
from trainguard.wire import CheckpointReport


class Desk:
    """A keeper with everything around it."""

    def __init__(self, store: Checkpoints, *, keep: int = 1) -> None:
        self.model = nn.Linear(2, 2)
        self.store = store
        self.told: list[CheckpointReport] = []
        self.remembered: list[tuple[CheckpointReport, ...]] = []
        self.ledger = CheckpointLedger(keep, quiet_steps=5, distant=0)
        self.keeper = CheckpointKeeper(
            state=TrainingState(self.model, SGD(self.model.parameters(), lr=0.1)),
            store=store,
            ledger=self.ledger,
            every=10,
            clock=lambda: 7.0,
            tell=self.told.append,
            remember=lambda: self.remembered.append(self.ledger.records()),
        )

    def save(self, step: int, **options: Any) -> CheckpointReport:
        report = self.keeper.save(attempt=0, next_step=step, **options)
        assert report is not None
        return report

    def steps(self) -> dict[int, str]:
        return {report.step: report.state for report in self.keeper.reports()}


@pytest.fixture
def desk() -> Desk:
    return Desk(MemoryCheckpoints())


def test_a_checkpoint_is_told_and_remembered_and_confirmed_after_a_quiet_stretch(desk: Desk) -> None:
    desk.save(0, is_initial=True)
    desk.save(10)
    desk.keeper.confirm(14)
    assert desk.steps() == {0: "confirmed", 10: "candidate"}
    desk.keeper.confirm(15)
    assert [(report.step, report.state) for report in desk.told] == [
        (0, "confirmed"),
        (10, "candidate"),
        (10, "confirmed"),
        (0, "removed"),
    ]
    assert len(desk.remembered) == 4
    assert [report.step for report in desk.remembered[-1]] == [10]
    assert [record.step for record in desk.store.entries()] == [10]


def test_it_is_due_every_so_many_steps_and_not_at_the_first(desk: Desk) -> None:
    assert [step for step in range(31) if desk.keeper.is_due(step)] == [10, 20, 30]


def test_a_poisoned_state_never_becomes_a_checkpoint(desk: Desk) -> None:
    with torch.no_grad():
        desk.model.weight[0, 0] = float("nan")
    assert desk.keeper.save(attempt=0, next_step=10) is None
    assert "the state before step 10 is not finite: parameter 'weight'" in desk.keeper.why_not_saved
    assert (desk.told, desk.store.entries()) == ([], [])


def test_an_onset_reaches_back_to_confirmed_ones(desk: Desk) -> None:
    desk.save(0, is_initial=True)
    desk.save(10)
    desk.keeper.confirm(15)
    desk.save(20)
    desk.keeper.suspect(9, "the loss diverges")
    assert desk.steps() == {10: "suspect", 20: "suspect"}


def test_a_save_that_the_store_refuses_is_no_checkpoint(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk(MemoryCheckpoints(max_bytes=1))
    assert desk.keeper.save(attempt=0, next_step=10) is None
    assert "does not fit" in desk.keeper.why_not_saved
    assert [report.state for report in desk.told] == ["candidate", "removed"]
    assert desk.steps() == {}
    assert caplog.records == []  # who called it says so


def test_one_that_the_store_evicted_is_told_as_removed() -> None:
    desk = Desk(MemoryCheckpoints(keep=1), keep=3)
    first = desk.save(10)
    desk.save(20)
    assert desk.steps() == {20: "candidate"}
    removed = [report for report in desk.told if report.state == "removed"]
    assert [(report.checkpoint_id, report.reason) for report in removed] == [
        (first.checkpoint_id, "it made room in keep=1")
    ]


class Disk:
    """Holds writes back until `finish`, which lets them succeed or fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_full = False
        self._is_open = threading.Event()
        real = DirectoryCheckpoints._write_files

        def write(store: DirectoryCheckpoints, *arguments: Any) -> Any:
            assert self._is_open.wait(60)
            if self.is_full:
                raise OSError(28, "No space left on device")
            return real(store, *arguments)

        monkeypatch.setattr(DirectoryCheckpoints, "_write_files", write)

    def finish(self, store: Checkpoints) -> None:
        self._is_open.set()
        assert store.wait(60)

    def hold(self) -> None:
        self._is_open.clear()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def test_nothing_is_rotated_away_for_a_checkpoint_that_is_not_written_yet(tmp_path: Path, disk: Disk) -> None:
    desk = Desk(DirectoryCheckpoints(tmp_path, background=True, queue=4))
    desk.save(0, is_initial=True)
    disk.finish(desk.store)
    disk.hold()
    desk.save(10)
    desk.keeper.confirm(15)
    assert desk.steps() == {0: "confirmed", 10: "confirmed"}
    disk.finish(desk.store)
    desk.keeper.confirm(16)
    assert desk.steps() == {10: "confirmed"}
    desk.store.close()


def test_one_that_fails_in_the_background_is_taken_back_and_the_one_before_it_stays(
    tmp_path: Path, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk(DirectoryCheckpoints(tmp_path, background=True, queue=4))
    initial = desk.save(0, is_initial=True)
    disk.finish(desk.store)
    disk.hold()
    disk.is_full = True
    desk.save(10)
    desk.keeper.confirm(15)
    disk.finish(desk.store)
    with caplog.at_level(logging.WARNING):
        desk.keeper.confirm(16)
    assert desk.steps() == {0: "confirmed"}
    assert "No space left" in caplog.text
    assert desk.told[-1].state == "removed"
    desk.keeper.load(initial.checkpoint_id)
    desk.store.close()


def test_a_restart_forgets_what_is_not_there_and_removes_what_nobody_knows(tmp_path: Path) -> None:
    before = Desk(DirectoryCheckpoints(tmp_path), keep=3)
    kept, lost, unknown = before.save(10), before.save(20), before.save(30)
    before.store.remove(lost.checkpoint_id)

    after = Desk(DirectoryCheckpoints(tmp_path), keep=3)
    after.ledger.load([kept, lost])
    after.keeper.take_stock()
    assert after.keeper.reports() == [kept]
    assert [(report.step, report.state) for report in after.told] == [(20, "removed")]
    assert not after.store.exists(unknown.checkpoint_id)
    assert after.store.exists(kept.checkpoint_id)


def test_what_an_abandoned_branch_saved_goes(desk: Desk) -> None:
    desk.save(0, is_initial=True)
    desk.save(10)
    desk.save(20)
    desk.keeper.rolled_back(to_step=10, attempt=1)
    assert desk.steps() == {0: "confirmed", 10: "candidate"}
    assert [record.step for record in desk.store.entries()] == [0, 10]


def test_an_unreadable_one_is_distrusted(desk: Desk) -> None:
    report = desk.save(10)
    desk.keeper.distrust(report.checkpoint_id, "it is torn")
    assert [(one.state, one.reason) for one in desk.keeper.reports()] == [("suspect", "it is torn")]
    assert desk.keeper.report(UUID(int=0)) is None


def test_the_hooks_memory_travels_with_the_checkpoint() -> None:
    store = MemoryCheckpoints()
    model = nn.Linear(2, 2)
    keeper = CheckpointKeeper(
        state=TrainingState(model, SGD(model.parameters(), lr=0.1)),
        store=store,
        ledger=CheckpointLedger(),
        every=10,
        clock=lambda: 7.0,
        tell=lambda report: None,
        remember=lambda: None,
        memory=lambda: {"data_step": 3},
    )
    report = keeper.save(attempt=0, next_step=0, is_initial=True)
    assert report is not None
    snapshot = keeper.load(report.checkpoint_id)
    assert (snapshot.memory, snapshot.is_initial) == ({"data_step": 3}, True)
    keeper.close()
    assert store.entries() == []
