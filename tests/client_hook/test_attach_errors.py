"""What would fail at 3 a.m. fails at attach, with the argument's name and the remedy; nothing is changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import client_hook
from client_hook import AttachError
from client_hook.recovery.checkpoints import MemoryCheckpoints
from tests.client_hook.little_training import LittleTraining


def _message(training: LittleTraining, **options: Any) -> str:
    with pytest.raises(AttachError) as raised:
        training.attach(**options)
    assert not training.optimizer._optimizer_step_pre_hooks, "a failed attach leaves nothing behind"
    return str(raised.value)


def test_an_optimizer_of_another_model() -> None:
    training = LittleTraining()
    stranger = nn.Linear(3, 3)
    with pytest.raises(AttachError, match="optimizer does not own any of the model's 4 parameters; make it from"):
        client_hook.attach(stranger if False else training.model, torch.optim.SGD(stranger.parameters(), lr=0.1))


def test_an_optimizer_that_trains_more_than_the_model_when_checkpoints_would_forget_the_rest(tmp_path: Path) -> None:
    training = LittleTraining()
    training.optimizer.add_param_group({"params": nn.Linear(3, 3).parameters()})
    message = _message(training, checkpoints=tmp_path / "c")
    assert message.startswith("optimizer owns 2 parameters that are not the model's")
    assert "attach([model, other], optimizer" in message


def test_a_lazy_model_that_has_seen_no_batch() -> None:
    model = nn.Sequential(nn.LazyLinear(3))
    with pytest.raises(AttachError, match="lazy parameters without a shape; run one batch through it, then attach"):
        client_hook.attach(model, torch.optim.SGD(model.parameters(), lr=0.1))


def test_a_folder_whose_parent_is_missing(tmp_path: Path) -> None:
    message = _message(LittleTraining(), checkpoints=tmp_path / "missing" / "c")
    assert "missing' does not exist" in message
    assert "make that folder first or correct the path" in message


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "c").write_text("mine")
    assert "is a file, not a folder" in _message(LittleTraining(), checkpoints=tmp_path / "c")
    assert (tmp_path / "c").read_text() == "mine"


def test_an_unknown_mode() -> None:
    message = _message(LittleTraining(), mode="rescue")
    assert message == "mode='rescue' is unknown; use one of 'observe', 'advise', 'act'"


def test_act_with_nothing_to_roll_back_to() -> None:
    message = _message(LittleTraining(), mode="act")
    assert message.startswith("mode='act' has nothing to roll back to; give checkpoints=")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"server": "127.0.0.1:8321"}, "server="),
        ({"server": "ftp://host"}, "server="),
        ({"checkpoint_every": 0}, "checkpoint_every=0"),
        ({"keep": 0}, "keep=0"),
        ({"sensitivity": "extreme"}, "sensitivity='extreme'"),
        ({"guard": "sometimes"}, "guard='sometimes'"),
        ({"run": ""}, None),
        ({"run": "a\nb"}, "run="),
        ({"tags": ["a"]}, "tags"),
        ({"playbook": {"ladders": {"meltdown": {}}}}, "meltdown"),
        ({"playbook": 3}, "playbook"),
        ({"detectors": {"loss_spike": {"zz": 9.0}}}, "detectors: overrides.loss_spike names 'zz'"),
        ({"scheduler": object()}, "schedulers[0]"),
        ({"state": {"ema": object()}}, "state['ema']"),
        ({"scaler": nn.Linear(1, 1)}, "scaler is a Linear without the methods of a torch.amp.GradScaler"),
        ({"checkpoints": 17}, "checkpoints is a int"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(options: dict[str, Any], named: str | None) -> None:
    if named is None:
        LittleTraining().attach(**options).close()  # an empty name takes the default
    else:
        assert named in _message(LittleTraining(), **options)


def test_a_model_that_is_none() -> None:
    training = LittleTraining()
    with pytest.raises(AttachError, match="model is a function"):
        client_hook.attach(lambda x: x, training.optimizer)  # type: ignore[arg-type]


def test_a_scheduler_of_another_optimizer() -> None:
    other = LittleTraining()
    assert "steps an optimizer that is not attached" in _message(LittleTraining(), scheduler=other.scheduler)


def test_a_state_that_no_checkpoint_could_give_back(tmp_path: Path) -> None:
    class Strange:
        def state_dict(self) -> dict[str, Any]:
            return {"file": open}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            raise AssertionError

    message = _message(LittleTraining(), state={"strange": Strange()}, checkpoints=tmp_path / "c")
    assert "state['strange']" in message
    assert "could not be read back" in message


def test_a_playbook_file_is_read_and_its_faults_are_told_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("extends: default\nprobation_step: 9\n")
    message = _message(LittleTraining(), playbook=path)
    assert f"{path}, line 2: probation_step: unknown key; did you mean 'probation_steps'?" in message
    path.write_text("extends: default\nprobation_steps: 9\n")
    hook = LittleTraining().attach(playbook=str(path))
    hook.close()
    described = hook._description.playbook
    assert described is not None
    assert (described["name"], described["probation_steps"], "budget" in described) == ("mine", 9, False)


def test_a_folder_in_which_another_training_works(tmp_path: Path) -> None:
    first = LittleTraining().attach(checkpoints=tmp_path / "c")
    message = _message(LittleTraining(), checkpoints=tmp_path / "c")
    first.close()
    assert str(tmp_path / "c") in message
    LittleTraining().attach(checkpoints=tmp_path / "c").close()


def test_a_failed_attach_does_not_keep_the_folder_locked(tmp_path: Path) -> None:
    stranger = LittleTraining()
    stranger.attach(mode="act", checkpoints=tmp_path / "c").detach()
    # The process that held the lock is this one: let go of it as the end of a process would.
    training = LittleTraining()
    training.optimizer.add_param_group({"params": nn.Linear(3, 3).parameters()})
    _message(training, checkpoints=tmp_path / "d")
    LittleTraining().attach(checkpoints=tmp_path / "d").close()


def test_several_models_and_optimizers_are_one_training() -> None:
    first, second = LittleTraining(), LittleTraining(seed=1)
    hook = client_hook.attach(
        [first.model, second.model],
        [first.optimizer, second.optimizer],
        mode="act",
        checkpoints=MemoryCheckpoints(),
        synchronous=True,
    )
    for training in (first, second):
        training.gradients()
        training.update()
    assert hook.observe(1.0).next_step == 1
    hook.close()


def test_the_environment_names_server_and_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINGUARD_SERVER", "nonsense")
    assert "server='nonsense' is not an address" in _message(LittleTraining())


def test_the_public_names_are_exactly_these() -> None:
    assert client_hook.__all__ == [
        "AttachError", "FunctionCheckpoints", "RerunReport", "StepOutcome", "TrainingHalted", "TrainingHook", "attach",
    ]  # fmt: skip
