"""Commands at the step boundary: fenced, applied at most once, and never half."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest

import client_hook
from client_hook import TrainingHalted
from client_hook.recovery.checkpoints import MemoryCheckpoints
from client_hook.recovery.errors import JournalNotWritten
from tests.client_hook.little_training import LittleTraining
from trainguard.wire import (
    Acknowledgement,
    Command,
    Halt,
    LowerLearningRate,
    Order,
    ResetMoments,
    RewarmUp,
    Rollback,
    SaveNow,
    SkipDataWindow,
    UnknownOrder,
)


class Stage:
    """A training with a hook, into whose inbox the test puts commands."""

    def __init__(self, **options: Any) -> None:
        self.training = LittleTraining()
        options = {"mode": "act", "checkpoints": MemoryCheckpoints(), "checkpoint_every": 20, **options}
        self.hook = self.training.attach(**options)
        self.answers: list[Acknowledgement] = []
        put = self.hook._outbox.put

        def listening(item: Any) -> None:
            if isinstance(item, Acknowledgement):
                self.answers.append(item)
            put(item)

        self.hook._outbox.put = listening  # type: ignore[method-assign]

    def step(self) -> client_hook.StepOutcome:
        loss = self.training.gradients()
        self.training.update()
        return self.hook.observe(loss)

    def steps(self, count: int) -> None:
        for _ in range(count):
            self.step()

    def command(self, *orders: Order, **fence: Any) -> Command:
        position = self.hook._training.position
        given = {"attempt": position.attempt, "revision": position.revision, "issued_at": 0.0, "expires_at": 9e9}
        return Command(command_id=uuid4(), orders=orders, reason="a test", **{**given, **fence})

    def give(self, command: Command) -> client_hook.StepOutcome:
        self.hook._inbox.append(command)
        return self.step()

    def confirmed(self, step: int) -> UUID:
        keeper = self.hook._training.keeper
        assert keeper is not None
        return next(one.checkpoint_id for one in keeper.reports() if one.step == step and one.state == "confirmed")


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.hook.close()


def test_a_command_is_applied_once_and_acknowledged_each_time_it_comes(stage: Stage) -> None:
    command = stage.command(LowerLearningRate(factor=0.5))
    assert stage.give(command).action == "lower_learning_rate"
    assert stage.give(command).action is None
    assert stage.hook.lr_scale == 0.5
    assert [answer.status for answer in stage.answers] == ["applied", "applied"]
    assert stage.answers[0] == stage.answers[1]
    assert stage.answers[0].revision == 1


@pytest.mark.parametrize(
    ("fence", "said"),
    [
        ({"attempt": 1}, "decided for attempt 1, and this is attempt 0"),
        ({"revision": 4}, "decided on revision 4, and this is revision 0"),
        ({"expires_at": 1.0}, "expired"),
    ],
    ids=["attempt", "revision", "expiry"],
)
def test_the_fence_refuses_with_a_sentence(stage: Stage, fence: dict[str, Any], said: str) -> None:
    outcome = stage.give(stage.command(LowerLearningRate(factor=0.5), **fence))
    assert outcome.action is None
    assert stage.hook.lr_scale == 1.0
    [answer] = stage.answers
    assert answer.status == "refused"
    assert said in answer.reason


def test_two_brains_that_decide_at_the_same_moment_are_kept_apart_by_the_revision(stage: Stage) -> None:
    one, other = stage.command(LowerLearningRate(factor=0.5)), stage.command(LowerLearningRate(factor=0.5))
    stage.hook._inbox.extend([one, other])
    stage.steps(3)
    assert stage.hook.lr_scale == 0.5
    assert [answer.status for answer in stage.answers] == ["applied", "refused"]


def test_an_action_of_a_newer_service_is_refused_whole(stage: Stage) -> None:
    order = UnknownOrder.model_validate({"action": "transmogrify", "strength": 3})
    assert stage.give(stage.command(LowerLearningRate(factor=0.5), order)).action is None
    assert stage.hook.lr_scale == 1.0, "not even the part of it that is known"
    assert "does not know the action 'transmogrify'; update it" in stage.answers[0].reason


def test_a_checkpoint_that_is_unknown_or_only_a_candidate_is_refused(stage: Stage) -> None:
    stage.steps(21)
    keeper = stage.hook._training.keeper
    assert keeper is not None
    candidate = next(one for one in keeper.reports() if one.state == "candidate")
    stage.give(stage.command(Rollback(checkpoint_id=uuid4())))
    stage.give(stage.command(Rollback(checkpoint_id=candidate.checkpoint_id)))
    assert [answer.status for answer in stage.answers] == ["refused", "refused"]
    assert "is not one that this trainer has" in stage.answers[0].reason
    assert "is candidate, not confirmed good" in stage.answers[1].reason
    assert stage.hook.attempt == 0


def test_a_store_that_fails_in_its_own_way_is_a_refusal_too(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.steps(60)
    keeper = stage.hook._training.keeper
    assert keeper is not None

    def unreachable(checkpoint_id: UUID) -> None:
        raise ConnectionError("the bucket is not there")

    monkeypatch.setattr(keeper._store, "load", unreachable)
    stage.give(stage.command(Rollback(checkpoint_id=stage.confirmed(40))))
    [answer] = stage.answers
    assert answer.status == "refused"
    assert "ConnectionError: the bucket is not there" in answer.reason


def test_a_rollback_with_everything_is_one_action_and_reports_what_it_read_back(stage: Stage) -> None:
    stage.steps(60)
    outcome = stage.give(
        stage.command(
            Rollback(checkpoint_id=stage.confirmed(40)),
            LowerLearningRate(factor=0.5),
            ResetMoments(),
            SkipDataWindow(batches=16),
            RewarmUp(steps=5),
        )
    )
    assert (outcome.action, outcome.rolled_back, outcome.next_step) == ("rollback", True, 40)
    assert outcome.data_step == 61 + 16
    [answer] = stage.answers
    assert answer.changes["restored_step"] == 40
    assert answer.changes["steps_lost"] == 21
    assert answer.changes["lr_scale"] == 0.5
    assert answer.changes["moments_left"] == 0
    assert len(str(answer.changes["checksum"])) == 64
    assert stage.hook.attempt == 1
    assert stage.training.scheduler.last_epoch == 40


def test_the_rate_warms_up_again_linearly_and_is_taken_off_after_each_step(stage: Stage) -> None:
    used: list[float] = []
    # A hook of the user, registered later than ours: it sees the rate with which the update is made.
    stage.training.optimizer.register_step_pre_hook(
        lambda optimizer, args, kwargs: used.append(optimizer.param_groups[0]["lr"])
    )
    stage.steps(30)
    stage.give(stage.command(LowerLearningRate(factor=0.5), RewarmUp(steps=3)))
    scheduled = []
    for _ in range(5):
        scheduled.append(stage.training.optimizer.param_groups[0]["lr"])
        stage.step()
    factors = [after / before for after, before in zip(used[-5:], scheduled)]
    assert factors == pytest.approx([0.125, 0.25, 0.375, 0.5, 0.5])


def test_save_now_saves_a_candidate(stage: Stage) -> None:
    stage.steps(5)
    assert stage.give(stage.command(SaveNow())).action == "save_now"
    assert stage.answers[0].changes["checkpoint_step"] == 6


def test_halt_raises_and_leaves_weights_and_checkpoints_alone(stage: Stage) -> None:
    stage.steps(5)
    with pytest.raises(TrainingHalted, match="halted at step 5") as halted:
        stage.give(stage.command(Halt()))
    assert halted.value.report["run_id"] == str(stage.hook.run_id)
    assert stage.hook.is_closed


def test_an_action_that_fails_half_way_ends_in_a_halt_not_in_half_a_model(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.steps(60)

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("the device fell off the bus")

    monkeypatch.setattr(stage.hook._training.state, "restore", broken)
    with pytest.raises(TrainingHalted, match="Failed after 0 of 2 actions: RuntimeError: the device fell off the bus"):
        stage.give(stage.command(Rollback(checkpoint_id=stage.confirmed(40)), LowerLearningRate(factor=0.5)))
    assert stage.answers[0].status == "failed"


def test_without_a_journal_nothing_is_applied(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(command: Command) -> None:
        raise JournalNotWritten("'journal.json' cannot be written (no space left); free some space")

    monkeypatch.setattr(stage.hook._journal, "begin", full)
    assert stage.give(stage.command(LowerLearningRate(factor=0.5))).action is None
    assert stage.hook.lr_scale == 1.0
    assert "no space left" in stage.answers[0].reason


def test_what_was_applied_counts_even_where_the_disk_then_refuses_to_note_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise JournalNotWritten("no space left")

    monkeypatch.setattr(stage.hook._journal, "complete", full)
    command = stage.command(LowerLearningRate(factor=0.5))
    assert stage.give(command).action == "lower_learning_rate"
    stage.give(command)
    assert stage.hook.lr_scale == 0.5
    assert [answer.status for answer in stage.answers] == ["applied", "applied"]


def test_a_run_that_is_only_observed_refuses_every_command() -> None:
    stage = Stage(mode="observe")
    assert stage.give(stage.command(LowerLearningRate(factor=0.5))).action is None
    stage.hook.close()
    assert stage.hook.lr_scale == 1.0
    assert "only observed" in stage.answers[0].reason


def test_a_run_that_is_advised_applies_what_a_person_approved() -> None:
    stage = Stage(mode="advise")
    assert stage.give(stage.command(LowerLearningRate(factor=0.5))).action == "lower_learning_rate"
    stage.hook.close()


def test_a_run_without_checkpoints_refuses_a_rollback() -> None:
    stage = Stage(mode="advise", checkpoints=None)
    stage.give(stage.command(Rollback(checkpoint_id=uuid4())))
    stage.hook.close()
    assert "keeps no checkpoints" in stage.answers[0].reason
