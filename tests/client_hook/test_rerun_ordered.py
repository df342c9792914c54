"""The re-run test ordered from elsewhere: made at the step boundary, answered with its verdict, and nothing changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
import torch
from torch import Tensor

from client_hook import StepOutcome, TrainingHalted
from client_hook.recovery import rerun as rerun_module
from client_hook.recovery.checkpoints import MemoryCheckpoints
from tests.client_hook.little_training import LittleTraining, same
from trainguard.wire import Acknowledgement, Command, LowerLearningRate, Order, Pause, RerunTest, Resume


class Stage:
    """A training with dropout that keeps its latest batch by a name; commands come from the test."""

    def __init__(self, **options: Any) -> None:
        self.training = LittleTraining(dropout=0.2)
        options = {"mode": "act", "checkpoints": MemoryCheckpoints(), "checkpoint_every": 10, **options}
        self.hook = self.training.attach(**options)
        self.batch = self.training.batch()
        self.asked = 0
        self.answers: list[Acknowledgement] = []
        put = self.hook._outbox.put

        def listening(item: Any) -> None:
            if isinstance(item, Acknowledgement):
                self.answers.append(item)
            put(item)

        self.hook._outbox.put = listening  # type: ignore[method-assign]

    def again(self) -> Tensor:
        """What the loop gives to the hook."""
        self.asked += 1
        loss = self.training.gradients(self.batch)
        self.training.losses.pop()
        return loss

    def step(self) -> StepOutcome:
        self.batch = self.training.batch()
        loss = self.training.gradients(self.batch)
        self.training.update()
        return self.hook.observe(loss)

    def steps(self, count: int) -> None:
        for _ in range(count):
            self.step()

    def send(self, *orders: Order) -> Command:
        position = self.hook._training.position
        fence = {"attempt": position.attempt, "revision": position.revision, "issued_at": 0.0, "expires_at": 9e9}
        command = Command(command_id=uuid4(), orders=orders, reason="a test", **fence)
        self.hook._inbox.append(command)
        return command

    def everything(self) -> list[Any]:
        optimizer = self.training.optimizer.state_dict()
        moments = [tensor.reshape(-1) for state in optimizer["state"].values() for tensor in state.values()]
        return [*self.training.weights(), *moments, torch.get_rng_state()]


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    stage.steps(40)
    yield stage
    stage.hook.close()


def test_the_latest_batch_is_made_again_and_the_verdict_is_the_answer(stage: Stage) -> None:
    stage.hook.rerun_with(lambda: stage.again())
    stage.send(RerunTest())
    outcome = stage.step()
    assert outcome.action == "rerun_test"
    assert not outcome.rolled_back
    [answer] = stage.answers
    assert (answer.status, answer.changes["verdict"], answer.changes["repeats"]) == ("applied", "well", True)
    assert answer.reason.startswith("Re-run test: well. The step repeats bit for bit")
    assert answer.reason.endswith("of that time.")
    assert stage.asked == 2
    assert len(answer.changes["losses"]) == 2  # type: ignore[arg-type]


def test_asked_for_more_passes_it_makes_them(stage: Stage) -> None:
    stage.hook.rerun_with(stage.again)
    stage.send(RerunTest(times=5))
    stage.step()
    assert stage.asked == 5


def test_a_bad_batch_is_told_from_a_bad_state(stage: Stage) -> None:
    def spoiled() -> Tensor:
        inputs, targets = stage.batch
        return stage.training.gradients((inputs, targets * 1000))

    stage.hook.rerun_with(spoiled)
    stage.send(RerunTest())
    stage.step()
    assert stage.answers[-1].changes["verdict"] == "data"
    assert stage.answers[-1].changes["older_step"] in (20, 30)
    assert stage.answers[-1].changes["older_loss"] > 1000  # type: ignore[operator]
    stage.hook.rerun_with(stage.again)
    with torch.no_grad():
        stage.training.model[3].weight.mul_(1000.0)
    stage.send(RerunTest())
    loss = stage.training.gradients(stage.batch).detach() * 0 + 1.0  # what the detectors hear is not the matter here
    stage.hook.observe(loss)
    assert stage.answers[-1].changes["verdict"] == "state"


def test_what_is_not_finite_travels_in_words(stage: Stage) -> None:
    def broken() -> Tensor:
        inputs, targets = stage.batch
        return stage.training.gradients((inputs * float("nan"), targets))

    stage.hook.rerun_with(broken)
    stage.send(RerunTest())
    stage.step()
    [answer] = stage.answers
    assert answer.changes["losses"] == ["NaN", "NaN"]
    assert answer.changes["verdict"] == "data"
    assert Acknowledgement.model_validate_json(answer.model_dump_json()) == answer


def test_the_training_goes_on_as_if_nobody_had_asked() -> None:
    ends = []
    for asks in (True, False):
        stage = Stage()
        stage.hook.rerun_with(stage.again)
        for step in range(60):
            if asks and step in (30, 45):
                stage.send(RerunTest())
            before = torch.get_rng_state()
            stage.step()
            assert not torch.equal(before, torch.get_rng_state())
        assert stage.asked == 4 * asks
        ends.append((stage.training.losses, stage.everything()))
        stage.hook.close()
    assert ends[0][0] == ends[1][0]
    assert same(ends[0][1], ends[1][1])


def test_without_a_function_it_is_refused_in_a_sentence(stage: Stage) -> None:
    stage.send(RerunTest())
    assert stage.step().action is None
    assert stage.answers[-1].status == "refused"
    assert "call hook.rerun_with(function)" in stage.answers[-1].reason
    stage.hook.rerun_with(stage.again)
    stage.hook.rerun_with(None)
    stage.send(LowerLearningRate(factor=0.5), RerunTest())
    stage.step()
    assert stage.answers[-1].status == "refused"
    assert stage.hook.lr_scale == 1.0, "together or not at all"


def test_a_run_that_is_only_observed_refuses_it_too() -> None:
    stage = Stage(mode="observe", checkpoints=None)
    stage.hook.rerun_with(stage.again)
    stage.send(RerunTest())
    stage.step()
    assert "only observed" in stage.answers[-1].reason
    assert stage.asked == 0
    stage.hook.close()


def _observes(stage: Stage) -> Tensor:
    loss = stage.again()
    stage.hook.observe(loss)
    return loss


def _steps_the_schedule(stage: Stage) -> Tensor:
    loss = stage.again()
    stage.training.scheduler.step()
    return loss


def _fails(stage: Stage) -> Tensor:
    raise MemoryError("no room for the activations")


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (_observes, "it called hook.observe()"),
        (_steps_the_schedule, "it called scheduler.step()"),
        (_fails, "no room for the activations"),
        (lambda stage: None, "it returned no loss"),
    ],
    ids=["observes", "schedules", "fails", "nothing"],
)
def test_a_function_that_cannot_be_used_is_an_answer_and_halts_nothing(
    stage: Stage, function: Callable[[Stage], Any], words: str
) -> None:
    stage.hook.rerun_with(lambda: function(stage))
    stage.send(RerunTest())
    epoch = stage.training.scheduler.last_epoch
    outcome = stage.step()
    [answer] = stage.answers
    assert (answer.status, answer.changes["verdict"], answer.changes["repeats"]) == ("applied", "not run", None)
    assert words in answer.reason
    assert stage.training.scheduler.last_epoch == epoch + 1
    assert stage.step().step == outcome.step + 1


def test_where_the_copy_finds_no_room_nothing_is_tried(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: Any) -> None:
        raise MemoryError("no room for a copy")

    stage.hook.rerun_with(stage.again)
    stage.send(RerunTest())
    monkeypatch.setattr(rerun_module, "capture_model", no_room)
    stage.step()
    assert stage.answers[-1].changes["verdict"] == "not run"
    assert "could not be copied first (MemoryError: no room for a copy)" in stage.answers[-1].reason
    assert stage.asked == 0


def test_parameters_that_could_not_be_put_back_end_in_a_halt(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    restore, calls = rerun_module.restore_model, 0

    def fails_at_last(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > 2:
            raise RuntimeError("the device fell off the bus")
        restore(*arguments)

    stage.hook.rerun_with(stage.again)
    stage.send(RerunTest())
    monkeypatch.setattr(rerun_module, "restore_model", fails_at_last)
    with pytest.raises(TrainingHalted, match="the device fell off the bus"):
        stage.step()


def test_parameters_that_are_not_what_they_were_end_in_a_halt(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoils_and_forgets() -> Tensor:
        loss = stage.again()
        with torch.no_grad():
            stage.training.model[0].weight.add_(1.0)
        return loss

    stage.hook.rerun_with(spoils_and_forgets)
    stage.send(RerunTest())
    stage.step()
    assert stage.answers[-1].status == "applied", "what the function does to the parameters is put back"
    monkeypatch.setattr(rerun_module, "restore_model", lambda *_: None)
    stage.send(RerunTest())
    with pytest.raises(TrainingHalted, match="not what they were before the re-run test"):
        stage.step()


def test_it_is_answered_in_a_pause(stage: Stage) -> None:
    stage.hook._training.pause.can_be_ended = True
    stage.hook.rerun_with(stage.again)
    stage.send(Pause(seconds=60.0))
    look, looks = stage.hook._look_for_command, iter([None, RerunTest(), Resume()])

    def looking() -> Any:
        order = next(looks)
        if order is not None:
            stage.send(order)
        return look()

    stage.hook._look_for_command = looking  # type: ignore[method-assign]
    stage.hook._called.set()
    stage.hook._called.clear = lambda: None  # type: ignore[method-assign]
    stage.step()
    assert [answer.action for answer in stage.answers] == ["pause", "rerun_test", "resume"]
    assert stage.answers[1].changes["verdict"] == "well"


def test_an_interrupt_leaves_the_training_whole_and_the_order_is_answered_later(stage: Stage) -> None:
    interrupts = iter([True])

    def interrupted() -> Tensor:
        loss = stage.again()
        if next(interrupts, False):
            raise KeyboardInterrupt
        return loss

    stage.hook.rerun_with(interrupted)
    command = stage.send(RerunTest())
    with pytest.raises(KeyboardInterrupt):
        stage.step()
    assert stage.answers == []
    stage.hook._inbox.append(command)  # as every receipt does, until it is answered
    before = stage.training.weights()
    stage.hook.observe(1.0)
    assert same(before, stage.training.weights())
    assert [answer.status for answer in stage.answers] == ["applied"]


def test_a_function_that_clips_leaves_no_mark_on_a_scaler_and_no_loss_of_a_micro_batch() -> None:
    ends = []
    for asks in (True, False):
        training = LittleTraining()
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=5)
        hook = training.attach(scaler=scaler, mode="advise")
        batch = training.batch()

        def forward_and_backward(update: bool) -> Tensor:
            inputs, targets = batch  # noqa: B023
            loss: Tensor = ((training.model(inputs) - targets) ** 2).mean()  # noqa: B023
            hook.accumulate(loss)  # noqa: B023
            scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # noqa: B023
            hook.clip_grad_norm_(100.0)  # noqa: B023
            if not update:
                scaler.update(512.0)  # noqa: B023
            return loss

        hook.rerun_with(lambda: forward_and_backward(update=False))
        reports, told = [], []
        for step in range(12):
            batch = training.batch()
            loss = forward_and_backward(update=True)
            if asks and step in (3, 8):
                # In the middle of a step: unscaled already, and not yet updated.
                assert hook._training.rerun is not None
                reports.append(hook._training.rerun(2).verdict)
            scaler.step(training.optimizer)
            training.scheduler.step()
            scaler.update()
            training.optimizer.zero_grad()
            told.append(([float(one) for one in hook._accumulated], loss.item()))
            hook.observe()
            if asks and step == 5:
                assert hook._training.rerun is not None
                reports.append(hook._training.rerun(2).verdict)
        assert reports == (["well", "well", "well"] if asks else [])
        assert all(noted == [made] for noted, made in told)
        ends.append((scaler.state_dict(), training.weights()))
        hook.close()
    assert ends[0][0] == ends[1][0]
    assert same(ends[0][1], ends[1][1])
