"""The re-run test: the right verdict for each kind of trouble, and nothing changed by it."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from client_hook import RerunReport, TrainingHook
from client_hook.recovery.checkpoints import MemoryCheckpoints
from tests.client_hook.little_training import LittleTraining


class Scene:
    """A little training with a batch norm and dropout, some healthy steps in, and one batch in hand."""

    def __init__(self, *, keeps_checkpoints: bool = True) -> None:
        self.training = LittleTraining(dropout=0.2)
        self.training.model = nn.Sequential(
            nn.Linear(16, 32), nn.BatchNorm1d(32), nn.Tanh(), nn.Dropout(0.2), nn.Linear(32, 1)
        )
        self.training.optimizer = torch.optim.AdamW(self.training.model.parameters(), lr=1e-3)
        self.training.scheduler = torch.optim.lr_scheduler.StepLR(self.training.optimizer, 1000)
        options = {"checkpoints": MemoryCheckpoints(), "checkpoint_every": 10} if keeps_checkpoints else {}
        self.hook: TrainingHook = self.training.attach(**options)
        for _ in range(50):
            loss = self.training.gradients()
            self.training.update()
            self.hook.observe(loss)
        self.batch = self.training.batch()

    def step(self) -> Tensor:
        return self.training.gradients(self.batch)

    def test(self, function: Callable[[], Any] | None = None) -> RerunReport:
        return self.hook.rerun_test(function or self.step)

    def everything(self) -> dict[str, Any]:
        model, optimizer = self.training.model, self.training.optimizer
        return copy.deepcopy(
            {
                "model": {name: tensor.clone() for name, tensor in model.state_dict().items()},
                "optimizer": optimizer.state_dict(),
                "scheduler": self.training.scheduler.state_dict(),
                "gradients": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
                "modes": [module.training for module in model.modules()],
                "torch": torch.get_rng_state(),
                "python": random.getstate(),
            }
        )


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene()
    yield made
    made.hook.close()


def assert_same(before: Any, after: Any, where: str = "") -> None:
    if isinstance(before, Tensor):
        assert torch.equal(before.nan_to_num(7.0), after.nan_to_num(7.0)), where
    elif isinstance(before, dict):
        assert before.keys() == after.keys(), where
        for key in before:
            assert_same(before[key], after[key], f"{where}.{key}")
    elif isinstance(before, (list, tuple)):
        assert len(before) == len(after), where
        for index, (one, other) in enumerate(zip(before, after)):
            assert_same(one, other, f"{where}[{index}]")
    else:
        assert before == after, where


def test_a_healthy_batch_repeats_and_does_no_harm(scene: Scene) -> None:
    report = scene.test()
    assert report.verdict == "well"
    assert len({run.checksum for run in report.runs}) == 1
    assert "repeats bit for bit" in report.sentence


def test_a_bad_batch_is_bad_with_older_parameters_too(scene: Scene) -> None:
    inputs, targets = scene.batch
    scene.batch = inputs, targets * 1000
    report = scene.test()
    assert report.verdict == "data"
    assert report.older is not None
    assert report.older.loss > 1000
    assert report.older_step in (30, 40)


def test_nan_in_a_batch_is_data(scene: Scene) -> None:
    inputs, targets = scene.batch
    scene.batch = inputs.index_fill(0, torch.tensor([3]), float("nan")), targets
    assert scene.test().verdict == "data"


def test_broken_parameters_are_the_state(scene: Scene) -> None:
    with torch.no_grad():
        scene.training.model[4].weight.mul_(500.0)
    report = scene.test()
    assert report.verdict == "state"
    assert "Roll back to before the onset" in report.sentence
    with torch.no_grad():
        scene.training.model[0].weight[0, 0] = float("nan")
    assert scene.test().verdict == "state"


def test_without_a_checkpoint_data_and_state_cannot_be_told_apart() -> None:
    scene = Scene(keeps_checkpoints=False)
    inputs, targets = scene.batch
    scene.batch = inputs, targets * 1000
    assert scene.test().verdict == "data or state"
    scene.hook.close()


@pytest.mark.parametrize(("size", "word"), [(1e-7, "reordered sums"), (0.5, "Suspect the hardware")])
def test_a_step_that_differs_is_the_machine(scene: Scene, size: float, word: str) -> None:
    flips = iter([0.0, size, 2 * size])

    def flipped() -> Tensor:
        loss = scene.step()
        weight = scene.training.model[0].weight.grad
        assert weight is not None
        weight.view(-1)[0] += next(flips) * weight.abs().max()
        return loss

    report = scene.test(flipped)
    assert report.verdict == "differs"
    assert word in report.sentence
    assert report.difference is not None
    assert size / 10 < report.difference < 1.1 * size


def test_a_function_that_takes_another_batch_each_time_is_thought_of_before_the_hardware(scene: Scene) -> None:
    inputs, targets = scene.batch
    batches = iter([(inputs, targets), (inputs, -targets), (inputs, 2 * targets)])

    def anew() -> Tensor:
        scene.batch = next(batches)
        return scene.step()

    report = scene.test(anew)
    assert report.verdict == "differs"
    assert report.sentence.index("takes the same batch each time") < report.sentence.index("Suspect the hardware")


def test_dropout_is_drawn_again_the_same(scene: Scene) -> None:
    assert len({run.checksum for run in scene.hook.rerun_test(scene.step, times=4).runs}) == 1


def _steps(scene: Scene) -> Tensor:
    loss = scene.step()
    scene.training.optimizer.step()
    return loss


def _raises(scene: Scene) -> Tensor:
    scene.step()
    scene.training.model.eval()
    raise ValueError("out of memory")


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (_steps, "it called optimizer.step()"),
        (_raises, "out of memory"),
        (lambda scene: scene.step() and None, "it returned no loss"),
        (lambda scene: torch.tensor(2.0), "it left no gradients"),
        (lambda scene: scene.step() + torch.zeros(3), "it returned 3 losses"),
    ],
    ids=["steps", "raises", "nothing", "no-gradients", "many"],
)
def test_a_function_that_cannot_be_used_is_said_so(scene: Scene, function: Callable[[Scene], Any], words: str) -> None:
    before = scene.everything()
    report = scene.test(lambda: function(scene))
    assert report.verdict == "not run"
    assert words in report.sentence
    assert_same(before, scene.everything())


def test_everything_is_as_before_bit_for_bit_and_the_training_goes_on_the_same() -> None:
    scenes = [Scene(), Scene()]
    for scene in scenes:
        torch.manual_seed(5)
        scene.step()  # gradients that are there must still be there, the very tensors
    kept = [parameter.grad for parameter in scenes[0].training.model.parameters()]
    before = scenes[0].everything()
    inputs, targets = scenes[0].batch
    assert scenes[0].hook.rerun_test(lambda: scenes[0].training.gradients((inputs, targets * 1000))).verdict == "data"
    assert_same(before, scenes[0].everything())
    assert all(p.grad is one for p, one in zip(scenes[0].training.model.parameters(), kept))
    ends = []
    for scene in scenes:
        torch.manual_seed(9)
        scene.training.update()
        losses = []
        for _ in range(10):
            loss = scene.training.gradients()
            scene.training.update()
            scene.hook.observe(loss)
            losses.append(loss.item())
        ends.append((losses, scene.training.weights()))
        scene.hook.close()
    assert_same(*ends)


def test_an_interrupt_passes_through_after_all_was_put_back(scene: Scene) -> None:
    def interrupted() -> Tensor:
        scene.step()
        raise KeyboardInterrupt

    before = scene.everything()
    with pytest.raises(KeyboardInterrupt):
        scene.test(interrupted)
    assert_same(before, scene.everything())
