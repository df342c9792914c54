"""Incidents of one run, one after the other: the ladder is climbed, never rewound, and ends honestly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import client_hook
from client_hook import TrainingHalted
from client_hook.recovery.checkpoints import MemoryCheckpoints
from tests.client_hook.little_training import LittleTraining, train


def _poison(training: LittleTraining, size: float = 30.0) -> None:
    """Somebody's buggy step: the weights themselves jump, whatever the rate."""
    with torch.no_grad():
        for parameter in training.model.parameters():
            parameter.add_(size * torch.randn_like(parameter))


def _run(training: LittleTraining, hook: client_hook.TrainingHook, steps: int, poison_at: set[int]) -> list[Any]:
    """Poisons once per data step in ``poison_at``, which never comes again."""
    outcomes = []
    for _ in hook.steps(steps):
        loss = training.gradients()
        hook.clip_grad_norm_(1.0)
        training.update()
        outcome = hook.observe(loss)
        if len(outcomes) in poison_at:
            _poison(training)
        outcomes.append(outcome)
    return outcomes


def test_the_second_incident_climbs_the_second_rung(tmp_path: Path) -> None:
    training = LittleTraining()
    hook = training.attach(mode="act", checkpoints=tmp_path / "c", checkpoint_every=20)
    outcomes = _run(training, hook, 600, poison_at={200, 420})
    hook.close()
    first, second = [outcome for outcome in outcomes if outcome.rolled_back]
    assert "moments are reset" not in first.reason
    assert "moments are reset" in second.reason
    assert "multiplied by" not in first.reason, "its gradient exploded, and the rate had not risen"
    assert "gradient norms are held" in first.reason
    assert "multiplied by 0.5" in second.reason
    assert hook.lr_scale == 1.0, "weights that jumped were no fault of the rate, so it came back"
    assert second.next_step < first.step + 220, "it went deeper than the newest checkpoint"


@pytest.mark.parametrize("step", [100, 103, 108, 116, 123])
def test_weights_that_jump_are_a_passing_cause_wherever_the_detectors_blocks_begin(step: int, tmp_path: Path) -> None:
    training = LittleTraining()
    hook = training.attach(mode="act", checkpoints=tmp_path / "c", checkpoint_every=20)
    for made in range(step + 120):
        if made == step:
            _poison(training)
        loss = training.gradients()
        training.update()
        hook.observe(loss)
    [incident] = hook._brain.memory.incidents
    hook.close()
    assert (incident.state, incident.cause, incident.onset_step) == ("resolved", "passing", step)
    assert incident.rate_factor == 1.0, "the rate had nothing to do with it"


def test_at_the_end_of_the_ladder_the_training_is_halted_with_a_report(tmp_path: Path) -> None:
    training = LittleTraining()
    hook = training.attach(mode="act", checkpoints=tmp_path / "c", checkpoint_every=20)
    with pytest.raises(TrainingHalted) as halted:
        _run(training, hook, 4000, poison_at=set(range(200, 4000, 30)))
    assert hook.is_closed
    report = halted.value.report
    assert report["attempt"] == 3
    assert report["run"] == "little"
    assert "halt" in halted.value.reason.lower()
    assert "every milder remedy was tried" in halted.value.reason
    assert report["halt"]["rollbacks"] == len(report["halt"]["tried"]) == 3
    assert report["halt"]["diagnosis"], "what a person should look at"
    assert any(sentence.startswith("3 remedies were tried") for sentence in report["story"])
    path = Path(report["file"])
    assert path.parent == tmp_path / "c"
    assert halted.value.reason.endswith(f"The report is in '{path}'.")
    text = path.read_text()
    assert text.startswith(f"# Run 'little' was halted at step {report['step']}")
    assert all(sentence in text for sentence in report["story"])
    assert json.loads(text.split("```json")[1].split("```")[0])["halt"] == report["halt"]


def _diverge_whatever_is_done(training: LittleTraining, hook: client_hook.TrainingHook) -> None:
    for step in hook.steps(4_000):
        loss = training.gradients()
        training.update()
        hook.observe(loss if step < 200 else loss.detach() * 1.05 ** (step - 200) + 0.05 * (step - 200))


def test_a_model_that_cannot_train_at_any_rate_is_called_structural(tmp_path: Path) -> None:
    training = LittleTraining()
    hook = training.attach(mode="act", checkpoints=tmp_path / "c", checkpoint_every=20)
    with pytest.raises(TrainingHalted, match="this looks structural") as halted:
        _diverge_whatever_is_done(training, hook)
    assert halted.value.report["halt"]["is_structural"]
    assert "Training it on will not help." in Path(halted.value.report["file"]).read_text()


def test_a_halt_without_a_folder_has_its_report_with_it() -> None:
    training = LittleTraining()
    hook = training.attach(mode="act", checkpoints=MemoryCheckpoints(), checkpoint_every=20)
    with pytest.raises(TrainingHalted) as halted:
        _run(training, hook, 4000, poison_at=set(range(100, 4000, 30)))
    assert halted.value.report["file"] is None
    assert "The report is in" not in halted.value.reason


def test_a_rollback_gives_back_the_very_weights_of_the_checkpoint(tmp_path: Path) -> None:
    training = LittleTraining()
    store = MemoryCheckpoints()
    hook = training.attach(mode="act", checkpoints=store, checkpoint_every=20)
    weights_at: dict[int, list[torch.Tensor]] = {0: training.weights()}
    restored = None
    for step in hook.steps(300):
        loss = training.gradients()
        training.update()
        outcome = hook.observe(loss)
        if outcome.rolled_back:
            restored = outcome.next_step
            break
        weights_at[outcome.next_step] = training.weights()
        if step == 149:
            _poison(training)
    hook.close()
    assert restored is not None
    assert restored <= 150
    assert all(torch.equal(one, other) for one, other in zip(training.weights(), weights_at[restored]))
    assert all(parameter.grad is None for parameter in training.model.parameters())
    assert training.scheduler.last_epoch == restored


@pytest.mark.parametrize("after", [False, True], ids=["scheduler before observe", "scheduler after observe"])
def test_a_rollback_to_the_state_of_attach_leaves_the_schedule_right(after: bool, tmp_path: Path) -> None:
    training = LittleTraining()
    hook = training.attach(mode="act", checkpoints=tmp_path / "c", checkpoint_every=10_000)
    rates: dict[int, float] = {}
    story = None
    step = 0
    # Attached after the hook, it sees the scheduled rate of every update that is made.
    training.optimizer.register_step_post_hook(
        lambda optimizer, args, kwargs: rates.__setitem__(step, optimizer.param_groups[0]["lr"])
    )
    for step in hook.steps(120):
        loss = training.gradients()
        training.update(scheduler=not after)
        outcome = hook.observe(loss)
        if after:
            training.scheduler.step()
        if outcome.rolled_back:
            story = outcome
        elif step == 80 and story is None:
            _poison(training)
    hook.close()
    assert story is not None
    assert story.next_step == 0
    fresh = LittleTraining()
    for step in range(120):
        assert rates[step] == fresh.optimizer.param_groups[0]["lr"], f"step {step}"
        fresh.optimizer.step()
        fresh.scheduler.step()


def test_a_step_with_non_finite_gradients_never_reaches_the_weights() -> None:
    training = LittleTraining()
    hook = training.attach(mode="act", checkpoints=MemoryCheckpoints(), checkpoint_every=20)
    for step in hook.steps(60):
        loss = training.gradients()
        if step == 40:
            next(training.model.parameters()).grad.fill_(float("nan"))  # type: ignore[union-attr]
            before = training.weights()
        training.update()
        outcome = hook.observe(loss)
        if step == 40:
            assert all(torch.equal(one, other) for one, other in zip(training.weights(), before))
        assert not outcome.rolled_back, "one bad gradient is skipped, not treated"
    hook.close()
    assert hook.attempt == 0


def test_a_pocket_of_non_finite_batches_is_waited_out_while_the_guard_keeps_it_from_the_weights() -> None:
    training = LittleTraining()
    hook = training.attach(mode="act", checkpoints=MemoryCheckpoints(), checkpoint_every=20)
    rollbacks = 0
    for made, _ in enumerate(hook.steps(200)):
        batch = training.batch()
        if 100 <= made < 106:
            batch = (batch[0] * float("inf"), batch[1])
        loss = training.gradients(batch)
        training.update()
        rollbacks += hook.observe(loss).rolled_back
    hook.close()
    assert all(torch.isfinite(parameter).all() for parameter in training.model.parameters())
    assert rollbacks == 0
    assert training.losses[-1] < 1.0


def test_without_the_guard_the_same_pocket_is_rolled_back() -> None:
    training = LittleTraining()
    hook = training.attach(mode="act", guard=False, checkpoints=MemoryCheckpoints(), checkpoint_every=20)
    rolled_back = []
    for made, _ in enumerate(hook.steps(200)):
        batch = training.batch()
        if made == 100:
            batch = (batch[0] * float("inf"), batch[1])
        loss = training.gradients(batch)
        training.update()
        outcome = hook.observe(loss)
        if outcome.rolled_back:
            rolled_back.append(outcome)
    hook.close()
    assert len(rolled_back) == 1
    assert rolled_back[0].next_step <= 100
    assert all(torch.isfinite(parameter).all() for parameter in training.model.parameters())


def test_advise_says_what_it_would_do_and_does_nothing(tmp_path: Path) -> None:
    training = LittleTraining()
    hook = training.attach(mode="advise", checkpoints=tmp_path / "c", checkpoint_every=20)
    said: list[str] = []
    consider = hook._brain.consider

    def listening(items: Any) -> Any:
        considered = consider(items)
        said.extend(message.reason for message in considered.messages if hasattr(message, "verdict"))
        return considered

    hook._brain.consider = listening  # type: ignore[method-assign]
    outcomes = _run(training, hook, 260, poison_at={200})
    hook.close()
    assert not any(outcome.action for outcome in outcomes)
    assert hook.lr_scale == 1.0
    assert any(sentence.startswith("Would do in mode act: roll back to the confirmed checkpoint") for sentence in said)


def test_a_loop_in_the_background_is_recovered_as_well(tmp_path: Path) -> None:
    training = LittleTraining()
    hook = training.attach(mode="act", checkpoints=tmp_path / "c", checkpoint_every=50, synchronous=False)
    made = 0
    rolled_back = None
    while hook.next_step < 2_000_000 and rolled_back is None and made < 200_000:
        loss = training.gradients()
        training.update()
        outcome = hook.observe(loss)
        made += 1
        if made == 600:
            _poison(training)
        if outcome.rolled_back:
            rolled_back = outcome
    hook.close()
    assert rolled_back is not None
    assert rolled_back.next_step <= 600


def test_after_twenty_faults_the_hook_is_silent_and_the_multiplier_stays(caplog: pytest.LogCaptureFixture) -> None:
    from client_hook.guard import take_swallowed

    training = LittleTraining()
    hook = training.attach(mode="act", checkpoints=MemoryCheckpoints())
    hook._training.rate.scale = 0.25
    applied: list[float] = []
    training.optimizer.register_step_pre_hook(lambda one, *_: applied.append(one.param_groups[0]["lr"]))

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a bug of ours")

    hook._senses.before_update = broken  # type: ignore[method-assign]
    for step in range(40):
        loss = training.gradients()
        scheduled = training.optimizer.param_groups[0]["lr"]
        training.update(scheduler=False)
        assert applied[-1] == 0.25 * scheduled
        assert training.optimizer.param_groups[0]["lr"] == scheduled
        assert hook.observe(loss).next_step == step + 1
        training.scheduler.step()
    hook.close()
    assert len(take_swallowed()) == 20
    assert sum("switches its watching off" in message for message in caplog.messages) == 1


def test_a_fault_of_ours_never_reaches_the_loop() -> None:
    from client_hook.guard import take_swallowed

    training = LittleTraining()
    hook = training.attach(mode="act", checkpoints=MemoryCheckpoints())

    def broken(*_: Any) -> Any:
        raise RuntimeError("a bug of ours")

    hook._senses.reading = broken  # type: ignore[method-assign]
    story = train(training, hook, 30)
    hook.close()
    assert len(story.outcomes) == 30
    assert story.outcomes[-1].next_step == 30
    assert take_swallowed()
