"""Recovery's promises where they meet the loop: through ``client_hook.attach`` and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD

import client_hook
from client_hook.recovery.checkpoints import DirectoryCheckpoints, MemoryCheckpoints
from tests.client_hook.little_training import LittleTraining


class Failing(SGD):
    """Raises in the step that it is told to, as where memory runs out."""

    fails = False

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        if self.fails:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return super().step(closure)


def test_a_step_that_raised_and_was_caught_leaves_no_lowered_rate_in_a_checkpoint() -> None:
    model = nn.Linear(2, 1)
    optimizer = Failing(model.parameters(), lr=0.1)
    store = MemoryCheckpoints()
    with client_hook.attach(
        model, optimizer, mode="act", checkpoints=store, checkpoint_every=1, synchronous=True
    ) as hook:
        hook._training.rate.scale = 0.5
        loss = model(torch.ones(1, 2)).sum()
        loss.backward()
        optimizer.fails = True
        with pytest.raises(torch.cuda.OutOfMemoryError):
            optimizer.step()
        assert optimizer.param_groups[0]["lr"] == 0.05
        hook.observe(loss)
        assert optimizer.param_groups[0]["lr"] == 0.1
        newest = store.load(store.entries()[-1].checkpoint_id)
        assert newest.optimizers[0]["options"][0]["lr"] == 0.1


def test_weights_that_are_not_finite_at_attach_are_an_error_there(tmp_path: Path) -> None:
    model = nn.Linear(2, 1)
    with torch.no_grad():
        model.bias.fill_(float("nan"))
    for _ in range(2):  # and the folder is not left locked
        with pytest.raises(client_hook.AttachError, match="nothing to roll back to: .*parameter 'bias'"):
            client_hook.attach(model, SGD(model.parameters(), lr=0.1), mode="act", checkpoints=tmp_path / "checkpoints")


def test_a_disk_that_is_full_at_attach_is_an_error_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(DirectoryCheckpoints, "_write_files", refuse)
    model = nn.Linear(2, 1)
    with pytest.raises(client_hook.AttachError, match="No space left on device"):
        client_hook.attach(
            model, SGD(model.parameters(), lr=0.1), mode="act", checkpoints=tmp_path / "checkpoints", synchronous=True
        )


def test_what_a_killed_process_saved_beyond_the_restored_step_is_never_confirmed_by_the_next(tmp_path: Path) -> None:
    def trained(until: int) -> client_hook.TrainingHook:
        training = LittleTraining()
        hook = training.attach(mode="act", checkpoints=tmp_path / "c", checkpoint_every=20)
        for _ in hook.steps(until):
            loss = training.gradients()
            training.update()
            hook.observe(loss)
        return hook

    def die(hook: client_hook.TrainingHook) -> None:
        hook.detach()
        hook._journal.close()

    def known(hook: client_hook.TrainingHook) -> dict[int, int]:
        keeper = hook._training.keeper
        assert keeper is not None
        return {report.step: report.attempt for report in keeper.reports()}

    first = trained(85)
    assert known(first)[80] == 0
    die(first)
    second = trained(61)  # restored to step 60, the newest confirmed one
    assert (second.attempt, known(second)[60], 80 in known(second)) == (1, 0, False)
    die(second)
    third = trained(95)
    assert known(third)[80] == 2
    third.close()
