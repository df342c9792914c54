"""Actions at work in a loop: what they do to the steps that follow, and what outlives a restart."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from client_hook import StepOutcome, TrainingHalted
from tests.client_hook.little_training import LittleTraining, same
from tests.client_hook.test_commands import Stage
from trainguard.wire import (
    Halt,
    LowerLearningRate,
    Pause,
    Resume,
    Rollback,
    ScaleLearningRate,
    SetLossScale,
    SkipUpdate,
    TightenClipping,
)


def norm_of_gradients(optimizer: torch.optim.Optimizer) -> float:
    grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    return torch.nn.utils.get_total_norm(grads).item() if grads else 0.0


class Watched(Stage):
    """Notes the gradient norm with which each update is made."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.norms: list[float] = []
        self.training.optimizer.register_step_pre_hook(
            lambda optimizer, args, kwargs: self.norms.append(norm_of_gradients(optimizer))
        )


def test_skipped_updates_leave_the_weights_alone_and_no_more_than_were_ordered() -> None:
    stage = Stage()
    stage.steps(5)
    stage.give(stage.command(SkipUpdate(updates=2)))
    before = stage.training.weights()
    stage.steps(2)
    assert same(before, stage.training.weights())
    stage.step()
    assert not same(before, stage.training.weights())
    stage.hook.close()


def test_tightened_clipping_holds_also_where_the_loop_clips_itself_or_not_at_all() -> None:
    stage = Watched()
    stage.steps(3)
    stage.give(stage.command(TightenClipping(max_norm=0.01)))
    stage.norms.clear()
    stage.step()
    loss = stage.training.gradients()
    seen = stage.hook.clip_grad_norm_(5.0)
    stage.training.update()
    stage.hook.observe(loss)
    assert stage.norms == pytest.approx([0.01, 0.01], rel=1e-3)
    assert seen > 0.01, "the norm before clipping is still what is told"
    stage.hook.close()


def test_a_loop_that_clips_tighter_is_left_alone() -> None:
    free = LittleTraining()
    for _ in range(6):
        free.gradients()
        free.update()
    stage = Watched()
    stage.give(stage.command(TightenClipping(max_norm=1e6)))
    stage.steps(5)
    assert same(stage.training.weights(), free.weights())
    stage.hook.close()


def test_the_limit_outlives_the_process(tmp_path: Path) -> None:
    stage = Stage(checkpoints=str(tmp_path / "c"))
    stage.give(stage.command(TightenClipping(max_norm=0.25)))
    stage.hook._close("failed", 1.0)
    later = Stage(checkpoints=str(tmp_path / "c"))
    assert later.hook._training.clipping.max_norm == 0.25
    later.hook.close()


def test_a_lowered_rate_comes_back_to_the_very_schedule() -> None:
    stage = Stage()
    stage.give(stage.command(LowerLearningRate(factor=0.05)))
    stage.give(stage.command(ScaleLearningRate(factor=4.0)))
    assert stage.hook.lr_scale == pytest.approx(0.2)
    stage.give(stage.command(ScaleLearningRate(factor=5.0)))
    assert stage.hook.lr_scale == 1.0
    stage.give(stage.command(ScaleLearningRate(factor=1000.0)))
    stage.give(stage.command(ScaleLearningRate(factor=2.0)))
    assert stage.hook.lr_scale == 1000.0
    assert "would become 2e+03" in stage.answers[-1].reason
    stage.hook.close()


def test_the_loss_scale_is_set_and_without_a_number_goes_back_to_the_first() -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    stage = Stage(scaler=scaler)
    stage.give(stage.command(SetLossScale(scale=2.0)))
    assert scaler.get_scale() == 2.0
    stage.give(stage.command(SetLossScale()))
    assert scaler.get_scale() == 8.0
    assert stage.answers[-1].changes["loss_scale_before"] == 2.0
    stage.hook.close()


class Paused:
    """A stage whose loop waits in another thread, while the test gives commands as the worker would."""

    def __init__(self) -> None:
        self.stage = Stage(checkpoint_every=20)
        self.stage.steps(60)
        self.stage.hook._training.pause.can_be_ended = True
        self.outcome: StepOutcome | None = None
        self.halted: TrainingHalted | None = None
        self.stage.hook._inbox.append(self.stage.command(Pause(seconds=60)))
        self.thread = threading.Thread(target=self._step)
        answered = self._answers(1)
        self.thread.start()
        answered.wait(10)

    def _answers(self, count: int) -> threading.Event:
        """Set as soon as so many commands were answered."""
        reached, tell = threading.Event(), self.stage.hook._tell

        def telling(handled: Any) -> None:
            tell(handled)
            if len(self.stage.answers) >= count:
                reached.set()

        self.stage.hook._tell = telling  # type: ignore[method-assign]
        return reached

    def _step(self) -> None:
        try:
            self.outcome = self.stage.step()
        except TrainingHalted as halted:
            self.halted = halted

    def give(self, *orders: Any) -> None:
        answered = self._answers(len(self.stage.answers) + 1)
        self.stage.hook._inbox.append(self.stage.command(*orders))
        self.stage.hook._called.set()
        assert answered.wait(10)

    def ends(self) -> None:
        self.thread.join(10)
        assert not self.thread.is_alive()


def test_a_paused_loop_waits_until_it_is_told_to_go_on() -> None:
    paused = Paused()
    assert paused.thread.is_alive()
    paused.give(LowerLearningRate(factor=0.5))
    assert paused.thread.is_alive(), "other commands are applied while it waits"
    paused.give(Resume())
    paused.ends()
    assert paused.outcome is not None
    assert paused.outcome.action == "resume"
    assert paused.stage.hook.lr_scale == 0.5
    paused.stage.give(paused.stage.command(Resume()))
    assert "not paused" in paused.stage.answers[-1].reason
    paused.stage.hook.close()


def test_a_rollback_during_a_pause_is_what_the_loop_is_told() -> None:
    paused = Paused()
    paused.give(Rollback(checkpoint_id=paused.stage.confirmed(40)))
    paused.give(Resume())
    paused.ends()
    assert paused.outcome is not None
    assert paused.outcome.rolled_back
    assert paused.outcome.next_step == 40
    paused.stage.hook.close()


def test_a_halt_ends_a_pause() -> None:
    paused = Paused()
    paused.give(Halt())
    paused.ends()
    assert paused.halted is not None


def test_a_pause_ends_by_itself_when_its_time_is_over() -> None:
    stage = Stage()
    stage.hook._training.pause.can_be_ended = True
    outcome = stage.give(stage.command(Pause(seconds=0.01)))
    assert outcome.action == "pause"
    assert stage.step().step == 1
    stage.hook.close()
