"""Every schedule: the applied rate is scheduled × scale on each step and taken off exactly, and it rolls back."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from torch.optim import lr_scheduler

from tests.client_hook.matrix.observations import listen
from tests.client_hook.matrix.trainings import SCHEDULERS, Run, same

STEPS = 12

each_scheduler = pytest.mark.parametrize("name", SCHEDULERS)


def test_every_scheduler_of_torch_is_in_the_matrix() -> None:
    there = {
        name
        for name, one in vars(lr_scheduler).items()
        if inspect.isclass(one) and issubclass(one, lr_scheduler.LRScheduler)
    }
    assert there - {"LRScheduler", "_LRScheduler"} <= set(SCHEDULERS)


@each_scheduler
@pytest.mark.parametrize("optimizer", ["AdamW", "Adam tensor rate"])
def test_the_applied_rate_is_the_scheduled_one_times_the_scale(name: str, optimizer: str) -> None:
    bare, run = Run(optimizer, name), Run(optimizer, name)
    hook = run.attach(mode="observe")
    heard = listen(hook)
    hook._training.rate.scale = 0.25
    applied: list[list[float]] = []
    run.optimizer.register_step_pre_hook(lambda one, args, kwargs: applied.append(run.rates()))
    for step in range(STEPS):
        scheduled = bare.rates()
        assert run.rates() == scheduled
        bare.update(step)
        loss = run.update(step)
        assert applied[-1] == pytest.approx([0.25 * rate for rate in scheduled], rel=1e-6)
        assert run.rates() == scheduled  # to the last bit
        for each in (bare, run):
            each.advance()
        hook.observe(loss)
        values = heard[-1].signals
        assert values["learning_rate"] == max(scheduled)
        assert "announced_learning_rate" not in values
        for index, rate in enumerate(scheduled):
            assert values[f"effective_learning_rate/{index}"] == pytest.approx(0.25 * rate)
    hook.close()
    assert run.rates() == bare.rates()


@pytest.mark.parametrize("is_there_first", [True, False])
def test_a_schedule_that_is_stepped_in_the_optimizers_own_hook_finds_its_own_rate(is_there_first: bool) -> None:
    run = Run("AdamW", "ExponentialLR")
    bare = Run("AdamW", "ExponentialLR")
    applied: list[list[float]] = []
    hook = None if is_there_first else run.attach(mode="observe")
    run.optimizer.register_step_post_hook(lambda one, args, kwargs: run.advance())
    hook = hook or run.attach(mode="observe")
    hook._training.rate.scale = 0.25
    run.optimizer.register_step_pre_hook(lambda one, args, kwargs: applied.append(run.rates()))
    for step in range(5):
        hook.observe(run.update(step))
        assert applied[-1] == pytest.approx([0.25 * rate for rate in bare.rates()])
        bare.update(step)
        bare.advance()
        assert run.rates() == bare.rates()
    hook.close()


@each_scheduler
@pytest.mark.parametrize("after_observe", [False, True], ids=["before observe", "after observe"])
def test_a_rollback_is_bit_exact(name: str, after_observe: bool, tmp_path: Path) -> None:
    run = Run("AdamW", name)
    hook = run.attach(mode="advise", checkpoints=tmp_path / "checkpoints", checkpoint_every=4)

    def make(step: int) -> list[float]:
        loss = run.update(step)
        rates = run.rates()
        if not after_observe:
            run.advance()
        hook.observe(loss)
        return rates

    seen: list[list[float]] = []
    for step in range(9):
        seen.append(make(step))
        if step == 3:
            state = run.everything()
        if after_observe:
            run.advance()
    keeper = hook._training.keeper
    assert keeper is not None
    saved = next(report for report in keeper.reports() if report.step == 4)
    expected, run.losses = run.losses[4:], []
    hook._training.state.restore(keeper.load(saved.checkpoint_id))
    assert same(run.everything(), state)
    again: list[list[float]] = []
    for step in range(4, 9):
        if after_observe:
            run.advance()  # the loop is inside `observe` of the step before, and goes on from there
        again.append(make(step))
    assert run.losses == expected
    assert again == seen[4:]
    hook.close()
