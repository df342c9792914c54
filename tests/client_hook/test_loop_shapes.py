"""Three shapes of loop, the same fault in each: the rate is multiplied by 300 from some step on."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.client_hook.little_training import LittleTraining, rate_at, train

STEPS = 400
FAULT_AT = 200


def _buggy(step: int) -> float:
    return 300.0 if step >= FAULT_AT else 1.0


def _is_healthy(training: LittleTraining) -> bool:
    last = training.losses[-20:]
    return all(math.isfinite(loss) for loss in last) and sum(last) / 20 < 0.35


@pytest.mark.parametrize("after", [False, True], ids=["scheduler before observe", "scheduler after observe"])
def test_a_loop_over_hook_steps_goes_back_and_ends_healthy(after: bool, tmp_path: Path) -> None:
    training = LittleTraining()
    with training.attach(mode="act", checkpoints=tmp_path / "c", checkpoint_every=20) as hook:
        # Once the run was taken back the bug is still there: only the multiplier makes it bearable.
        story = train(training, hook, STEPS, rate_times=_buggy, scheduler_after_observe=after)
        assert hook.attempt == len(story.rollbacks) >= 1
        assert hook.lr_scale < 0.1
    back = story.rollbacks[0]
    assert FAULT_AT <= back.step < FAULT_AT + 20
    assert back.action == "rollback"
    assert back.next_step <= FAULT_AT
    assert "rolled back" in back.reason.lower()
    assert _is_healthy(training)
    # The schedule stands where the steps stand, whichever order the loop has.
    assert training.scheduler.last_epoch == STEPS


def test_a_hand_written_while_loop_that_sets_the_rate_itself_keeps_the_multiplier(tmp_path: Path) -> None:
    training = LittleTraining()
    hook = training.attach(mode="act", scheduler=None, checkpoints=tmp_path / "c", checkpoint_every=20)
    group = training.optimizer.param_groups[0]
    step, steps_made, rolled_back = 0, 0, 0
    while step < STEPS:
        group["lr"] = training.rate * rate_at(step) * _buggy(step)
        loss = training.gradients()
        hook.clip_grad_norm_(1.0)
        training.update(scheduler=False)
        outcome = hook.observe(loss)
        steps_made += 1
        assert outcome.data_step >= steps_made
        rolled_back += outcome.rolled_back
        step = outcome.next_step
    hook.close()
    assert rolled_back >= 1
    assert group["lr"] == training.rate * rate_at(STEPS - 1) * 300, "the loop's own rate is left alone between steps"
    assert hook.lr_scale < 0.1
    assert _is_healthy(training)


def test_an_epoch_loop_that_ignores_next_step_gets_its_model_back_while_its_data_goes_on(tmp_path: Path) -> None:
    training = LittleTraining()
    hook = training.attach(mode="act", checkpoints=tmp_path / "c", checkpoint_every=20)
    made, served, back = 0, [], []
    for epoch in range(8):
        for index in hook.batches(range(50)):
            served.append(epoch * 50 + index)
            loss = training.gradients()
            hook.clip_grad_norm_(1.0)
            training.update(rate_times=_buggy(made))
            outcome = hook.observe(loss)
            made += 1
            if outcome.rolled_back:
                back.append((made, outcome))
    hook.close()
    assert back
    assert served == sorted(served), "the data never goes back"
    assert len(served) < 8 * 50, "a window of it was passed over"
    assert _is_healthy(training)


def test_a_scheduler_stepped_per_epoch_is_not_rewound_when_the_epochs_are_not(tmp_path: Path) -> None:
    training = LittleTraining()
    hook = training.attach(mode="act", checkpoints=tmp_path / "c", checkpoint_every=20)
    made = 0
    for epoch in range(8):
        for _ in range(50):
            loss = training.gradients()
            hook.clip_grad_norm_(1.0)
            training.update(scheduler=False, rate_times=_buggy(made) if made == FAULT_AT else 1.0)
            hook.observe(loss)
            made += 1
        training.scheduler.step()
        assert training.scheduler.last_epoch == epoch + 1
    hook.close()


def test_a_body_that_leaves_a_step_out_does_not_make_the_loop_endless() -> None:
    training = LittleTraining()
    hook = training.attach()
    made = []
    for step in hook.steps(10):
        if step % 3 == 1:
            continue
        loss = training.gradients()
        training.update()
        hook.observe(loss)
        made.append(step)
    hook.close()
    assert made == [0, 2, 3, 5, 6, 8, 9]


def test_the_outcome_counts_from_zero_and_names_the_step_to_make() -> None:
    training = LittleTraining()
    hook = training.attach()
    loss = training.gradients()
    training.update()
    outcome = hook.observe(loss)
    hook.close()
    assert (outcome.step, outcome.next_step, outcome.data_step, outcome.action, outcome.rolled_back) == (
        0,
        1,
        1,
        None,
        False,
    )


def test_accumulated_losses_are_observed_as_their_mean() -> None:
    training = LittleTraining()
    seen = []
    hook = training.attach()
    hook._senses.watched.clock = lambda: 0.0
    read = hook._senses.read
    hook._senses.read = lambda reading: seen.append(read(reading)) or seen[-1]  # type: ignore[method-assign, func-returns-value]
    for value in (1.0, 2.0, 6.0):
        hook.accumulate(value)
    training.gradients()
    training.update()
    hook.observe()
    hook.close()
    assert seen[0]["loss"] == 3.0
