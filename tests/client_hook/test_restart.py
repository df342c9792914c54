"""A trainer that is killed and started again goes on where its last confirmed checkpoint stands."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import torch

from client_hook import AttachError
from client_hook.recovery.journal import Journal
from tests.client_hook.little_training import LittleTraining, same
from trainguard.wire import Command, LowerLearningRate

STEPS = 120

KILLED_TRAINER = """
import os, signal, sys
from tests.client_hook.little_training import LittleTraining

folder, order, kill_at = sys.argv[1], sys.argv[2], int(sys.argv[3])
training = LittleTraining(dropout=0.1)
hook = training.attach(mode="act", checkpoints=folder, checkpoint_every=20)
print(hook.run_id, flush=True)
for step in hook.steps(120):
    loss = training.gradients()
    training.update(scheduler=order == "before")
    hook.observe(loss)
    if order == "after":
        training.scheduler.step()
    if step == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def _kill_a_trainer(folder: Path, order: str = "before", at: int = 90) -> UUID:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", KILLED_TRAINER, str(folder), order, str(at)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    return UUID(done.stdout.strip())


def _go_on(folder: Path, order: str = "before", **options: Any) -> tuple[LittleTraining, Any, list[int]]:
    training = LittleTraining(dropout=0.1)
    hook = training.attach(mode="act", checkpoints=folder, checkpoint_every=20, **options)
    steps = []
    for step in hook.steps(STEPS):
        steps.append(step)
        loss = training.gradients()
        training.update(scheduler=order == "before")
        hook.observe(loss)
        if order == "after":
            training.scheduler.step()
    hook.close()
    return training, hook, steps


def _uninterrupted() -> LittleTraining:
    training = LittleTraining(dropout=0.1)
    for _ in range(STEPS):
        training.gradients()
        training.update()
    return training


@pytest.mark.parametrize("order", ["before", "after"], ids=["scheduler before observe", "scheduler after observe"])
def test_a_killed_run_goes_on_and_ends_bit_for_bit_where_it_would_have_ended(order: str, tmp_path: Path) -> None:
    run_id = _kill_a_trainer(tmp_path / "c", order)
    training, hook, steps = _go_on(tmp_path / "c", order)
    assert hook.run_id == run_id
    assert hook.attempt == 1
    assert steps[0] == 80, "the newest checkpoint with a quiet stretch behind it"
    alone = _uninterrupted()
    assert training.losses == alone.losses[80:]
    assert same(training.weights(), alone.weights())


def test_a_finished_run_is_not_taken_up_again(tmp_path: Path) -> None:
    _, first, _ = _go_on(tmp_path / "c")
    _, second, steps = _go_on(tmp_path / "c")
    assert second.run_id != first.run_id
    assert steps[0] == 0
    assert (tmp_path / "c" / str(first.run_id)).is_dir(), "what the finished run saved is left alone"


def test_a_new_run_can_be_asked_for(tmp_path: Path) -> None:
    run_id = _kill_a_trainer(tmp_path / "c")
    _, hook, steps = _go_on(tmp_path / "c", resume_unfinished=False)
    assert hook.run_id != run_id
    assert steps[0] == 0


def test_a_torn_newest_checkpoint_is_passed_over(tmp_path: Path) -> None:
    run_id = _kill_a_trainer(tmp_path / "c")
    newest = sorted((tmp_path / "c" / str(run_id)).glob("step-00000080-*.pt"))
    [path] = newest
    path.write_bytes(path.read_bytes()[:-100])
    _, _, steps = _go_on(tmp_path / "c")
    assert steps[0] == 60


def test_another_model_is_refused_and_the_run_stays_as_it_was(tmp_path: Path) -> None:
    run_id = _kill_a_trainer(tmp_path / "c")
    other = LittleTraining()
    other.model.append(torch.nn.Linear(1, 1))
    other.optimizer.add_param_group({"params": other.model[-1].parameters()})
    with pytest.raises(AttachError, match="unfinished run that cannot be taken up.*resume_unfinished=False"):
        other.attach(mode="act", checkpoints=tmp_path / "c", scheduler=None)
    _, hook, steps = _go_on(tmp_path / "c")
    assert hook.run_id == run_id
    assert steps[0] == 80


def test_multiplier_and_rung_outlive_the_process_while_the_model_goes_back(tmp_path: Path) -> None:
    _kill_a_trainer(tmp_path / "c")
    path = tmp_path / "c" / "journal.json"
    page = json.loads(path.read_text())
    page.update(lr_scale=0.25, revision=3, policy_memory={"ladders": {"instability": {"rung": 2, "last_step": 90}}})
    path.write_text(json.dumps(page))
    training = LittleTraining(dropout=0.1)
    hook = training.attach(mode="act", checkpoints=tmp_path / "c", checkpoint_every=20)
    assert hook.lr_scale == 0.25
    assert hook._brain.memory.rung("instability") == 2
    assert hook._training.position.revision == 3
    hook.close()


def test_a_command_over_which_the_process_died_is_refused_and_never_applied_again(tmp_path: Path) -> None:
    _kill_a_trainer(tmp_path / "c")
    command = Command(
        command_id=uuid4(),
        attempt=1,
        revision=0,
        orders=(LowerLearningRate(factor=0.5),),
        issued_at=0.0,
        expires_at=9e9,
        reason="a test",
    )
    journal = Journal(tmp_path / "c", "little")
    journal.begin(command)
    journal.close()
    training = LittleTraining(dropout=0.1)
    hook = training.attach(mode="act", checkpoints=tmp_path / "c", checkpoint_every=20)
    hook._inbox.append(command)
    loss = training.gradients()
    training.update()
    assert hook.observe(loss).action is None
    assert hook.lr_scale == 1.0
    answer = hook._journal.handled(command.command_id)
    assert answer is not None
    assert "the process died while applying it" in answer.reason
    hook.close()


def test_data_that_comes_through_the_hook_begins_where_the_checkpoint_stood(tmp_path: Path) -> None:
    first = LittleTraining()
    hook = first.attach(mode="act", checkpoints=tmp_path / "c", checkpoint_every=20)
    for index, number in enumerate(hook.batches(range(1000))):
        assert index == number
        loss = first.gradients()
        first.update()
        hook.observe(loss)
        if index == 90:
            break
    # A process that ends without `close` leaves its folder to the next.
    hook._journal.close()
    hook.detach()
    second = LittleTraining()
    again = second.attach(mode="act", checkpoints=tmp_path / "c", checkpoint_every=20)
    assert next(iter(again.batches(range(1000)))) == again.next_step == 80
    again.close()
