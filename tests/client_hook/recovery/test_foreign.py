"""A checkpoint of somebody's own, registered: the training is untouched, and a rollback may go back to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import client_hook
from client_hook.recovery.checkpoints import MemoryCheckpoints
from tests.client_hook.little_training import LittleTraining, same
from trainguard.wire import Command, Rollback


def trained(steps: int) -> tuple[LittleTraining, client_hook.TrainingHook]:
    training = LittleTraining()
    hook = training.attach(mode="act", checkpoints=MemoryCheckpoints(), checkpoint_every=1000)
    for _ in range(steps):
        loss = training.gradients()
        training.update()
        hook.observe(loss)
    return training, hook


def write(training: LittleTraining, path: Path) -> None:
    torch.save({"model": training.model.state_dict(), "optimizer": training.optimizer.state_dict()}, path)


def reader(training: LittleTraining) -> Any:
    def load(path: Any) -> None:
        saved = torch.load(path, weights_only=True)
        training.model.load_state_dict(saved["model"])
        training.optimizer.load_state_dict(saved["optimizer"])

    return load


def test_the_training_goes_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    other, unused = trained(20)
    write(other, tmp_path / "mine.pt")
    unused.close()
    training, hook = trained(30)
    alone, beside = trained(30)
    group, weights = training.optimizer.param_groups[0], training.weights()
    hook.register_checkpoint(tmp_path / "mine.pt", step=20, load=reader(training))
    assert training.optimizer.param_groups[0] is group
    assert same(training.weights(), weights)
    torch.manual_seed(5)
    training.gradients()
    training.update()
    torch.manual_seed(5)
    alone.gradients()
    alone.update()
    assert same(training.weights(), alone.weights()), "moments, step counts and schedule included"
    for one in (hook, beside):
        one.close()


def test_a_rollback_may_go_back_to_it(tmp_path: Path) -> None:
    other, unused = trained(20)
    write(other, tmp_path / "mine.pt")
    unused.close()
    training, hook = trained(30)
    checkpoint_id = hook.register_checkpoint(tmp_path / "mine.pt", step=20, load=reader(training))
    command = Command(
        command_id=checkpoint_id, attempt=0, revision=0, orders=(Rollback(checkpoint_id=checkpoint_id),),
        issued_at=0.0, expires_at=9e9,
    )  # fmt: skip
    hook._inbox.append(command)
    loss = training.gradients()
    training.update()
    outcome = hook.observe(loss)
    assert (outcome.rolled_back, outcome.next_step) == (True, 20)
    assert same(training.weights(), other.weights())
    hook.close()


def test_what_cannot_be_read_or_is_not_finite_is_refused_and_nothing_is_touched(tmp_path: Path) -> None:
    training, hook = trained(30)
    weights = training.weights()
    with pytest.raises(client_hook.AttachError, match=r"nowhere\.pt.*cannot be registered.*FileNotFoundError"):
        hook.register_checkpoint(tmp_path / "nowhere.pt", step=20, load=reader(training))

    def poison(path: Any) -> None:
        next(training.model.parameters()).data.fill_(float("nan"))

    with pytest.raises(client_hook.AttachError, match="is not finite"):
        hook.register_checkpoint(tmp_path / "bad.pt", step=20, load=poison)
    with pytest.raises(client_hook.AttachError, match="step=99 is not between 0 and the step to make now, 30"):
        hook.register_checkpoint(tmp_path / "bad.pt", step=99, load=poison)
    assert same(training.weights(), weights)
    hook.close()
