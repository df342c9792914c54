"""The life of an incident as people would tell it."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.policy.story import Story, checkpoint
from trainguard.policy import STAGES, Budget, Judgement, Ladder, Playbook, PolicyMemory, Rung, Stage
from trainguard.policy.remedy import choose_checkpoint, choose_factor
from trainguard.wire import (
    Halt,
    LowerLearningRate,
    ResetMoments,
    RewarmUp,
    Rollback,
    RunDescription,
    SetLossScale,
    SkipDataWindow,
    SkipUpdate,
    TightenClipping,
)


def factor_of(story: Story) -> float:
    return next(order.factor for order in story.commands[-1].orders if isinstance(order, LowerLearningRate))


def restored_by(story: Story) -> int:
    first = story.commands[-1].orders[0]
    assert isinstance(first, Rollback)
    return next(one.step for one in story.checkpoints if one.checkpoint_id == first.checkpoint_id)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_with_nothing_to_say_gives_back_what_it_got(stage: Stage) -> None:
    # The service spares itself a copy for each such stage of each envelope.
    story, begun = Story(), Judgement.begin(PolicyMemory())
    assert stage(begun, story.situation(), story.playbook, 1000.0) is begun


def test_divergence_is_rolled_back_watched_and_resolved() -> None:
    story = Story()
    story.judge(story.finding(onset=395), loss=9.0)
    assert [type(order) for order in story.commands[-1].orders] == [
        Rollback, LowerLearningRate, SkipDataWindow, RewarmUp,
    ]  # fmt: skip
    assert restored_by(story) == 380
    assert story.incident.state == "recovering"
    assert story.decisions[-1].verdict == "act"
    assert "step 380" in story.decisions[-1].reason
    assert "remedy 1 of 4" in story.decisions[-1].reason

    story.judge(answers=[story.answer()])
    assert story.incident.state == "watching"
    assert story.incident.steps_lost == 21
    assert story.incident.watch_until_step == 450

    story.walk(69)
    assert story.incident.state == "watching"
    story.walk(1)
    assert story.incident.state == "resolved"
    assert story.incident.outcome.startswith("Recovered: at step 450")
    assert story.notices == ["opened", "recovering", "recovered"]
    assert len(story.commands) == 1


def test_one_trouble_is_one_incident_and_one_command() -> None:
    story = Story()
    story.judge(story.finding("grad_explosion", "warning"), loss=2.4)
    story.step += 1
    story.judge(story.finding("loss_spike", "warning"), loss=5.0)
    story.step += 1
    story.judge(story.finding("divergence"), story.finding("non_finite"), loss=9.0)
    story.walk(5, loss=9.0)
    assert len(story.memory.incidents) == 1
    assert story.incident.kind == "divergence"
    assert story.incident.findings == 4
    assert len(story.commands) == 1


def test_a_healing_spike_is_watched_not_treated() -> None:
    story = Story()
    story.judge(story.finding("loss_spike", "warning"), loss=6.0)
    assert [one.verdict for one in story.decisions] == ["wait"]
    story.walk(8)
    assert story.incident.state == "resolved"
    assert story.incident.outcome.startswith("Healed by itself")
    assert story.commands == []


@pytest.mark.parametrize(("over_noise", "waits"), [(7.0, 200), (9.0, 30), (20.0, 30)])
def test_a_drift_that_noise_might_explain_may_take_twice_as_long_to_heal_as_it_took_to_show(
    over_noise: float, waits: int
) -> None:
    story = Story()
    story.judge(story.finding("divergence", "warning", onset=300, drift_over_noise=over_noise), loss=2.6)
    assert story.decisions[-1].verdict == "wait"
    assert f"Wait until step {400 + waits}" in story.decisions[-1].reason


def test_a_spike_that_does_not_heal_is_treated() -> None:
    story = Story()
    story.judge(story.finding("loss_spike", "warning"), loss=6.0)
    story.walk(39, loss=6.0)
    assert story.commands == []
    story.walk(1, loss=6.0)
    assert story.commands[-1].action == "rollback"


def test_a_relapse_on_probation_climbs_the_next_rung() -> None:
    story = Story()
    story.judge(story.finding(onset=395), loss=9.0)
    story.judge(answers=[story.answer()])
    story.walk(15)
    story.judge(story.finding(onset=394), loss=9.0)
    assert len(story.memory.incidents) == 1
    assert restored_by(story) == 300, "deeper than the last time"
    assert any(isinstance(order, ResetMoments) for order in story.commands[-1].orders)
    assert "remedy 2 of 4" in story.decisions[-1].reason


def test_the_second_incident_climbs_the_second_rung() -> None:
    story = Story()
    story.judge(story.finding(), loss=9.0)
    story.judge(answers=[story.answer()])
    story.walk(100)
    assert story.incident.state == "resolved"
    story.checkpoints.append(checkpoint(460, attempt=1))
    story.judge(story.finding(), loss=9.0)
    assert len(story.memory.incidents) == 2
    assert "remedy 2 of 4" in story.decisions[-1].reason


def test_a_long_healthy_stretch_forgives() -> None:
    story = Story()
    story.judge(story.finding(), loss=9.0)
    story.judge(answers=[story.answer()])
    story.walk(100)
    story.step += 20_000
    story.judge()
    story.judge(story.finding(), loss=9.0)
    assert "remedy 1 of 4" in story.decisions[-1].reason


def test_the_ladder_ends_in_an_honest_halt() -> None:
    story = Story()
    for rung in range(3):
        story.judge(story.finding(onset=385), loss=9.0)
        assert story.commands[-1].action == "rollback", rung
        story.judge(answers=[story.answer()])
        story.walk(10)
    story.judge(story.finding(onset=385), loss=9.0)
    [halt] = story.commands[-1].orders
    assert isinstance(halt, Halt)
    assert halt.report is not None
    assert halt.report.is_structural
    assert len(halt.report.tried) == halt.report.rollbacks == 3
    told = "\n".join(halt.report.sentences())
    assert "3 remedies were tried, with 3 rollbacks" in told
    assert "This looks structural" in told
    assert "Next: " in told
    assert story.decisions[-1].verdict == "halt"
    story.judge(answers=[story.answer()])
    assert story.incident.state == "escalated"
    assert story.notices[-1] == "escalated"


def test_the_budget_ends_before_an_endless_ladder() -> None:
    ladder = Ladder(rungs=tuple(Rung(name=f"again {n}") for n in range(9)))
    story = Story(playbook=Playbook(ladders={"divergence": ladder}, budget=Budget(rollbacks=2)))
    for _ in range(2):
        story.judge(story.finding(onset=385), loss=9.0)
        story.judge(answers=[story.answer()])
        story.walk(10)
    story.judge(story.finding(onset=385), loss=9.0)
    assert len(story.commands) == 2
    assert story.incident.state == "escalated"
    assert "budget of 2 rollbacks is spent" in story.incident.outcome


def test_observe_says_so_and_does_nothing() -> None:
    story = Story(mode="observe")
    story.judge(story.finding(), loss=9.0)
    story.walk(20, loss=9.0)
    assert story.commands == []
    assert [one.reason for one in story.decisions] == ["Nothing, because this run is only observed (mode observe)."]


def test_advise_proposes_once_and_commands_nothing() -> None:
    story = Story(mode="advise")
    story.judge(story.finding(), loss=9.0)
    story.walk(20, loss=9.0)
    assert story.commands == []
    assert [one.verdict for one in story.decisions] == ["propose"]
    assert story.decisions[0].orders
    assert story.decisions[0].reason.startswith("Would do in mode act: roll back")
    assert "needs_approval" in story.notices


def test_without_a_good_checkpoint_nothing_is_done_and_it_says_why() -> None:
    story = Story()
    story.checkpoints = [checkpoint(380, "candidate"), checkpoint(390, "suspect"), checkpoint(399)]
    story.judge(story.finding(onset=395), loss=9.0)
    assert story.commands == []
    assert story.incident.state == "escalated"
    assert "no confirmed checkpoint from before the onset at step 395" in story.decisions[-1].reason


def test_a_refused_command_is_decided_again_and_then_given_to_a_person() -> None:
    story = Story()
    story.judge(story.finding(onset=395), loss=9.0)
    for attempt in range(3):
        assert len({one.command_id for one in story.commands}) == attempt + 1
        story.judge(answers=[story.answer("refused", "Refused: it was decided on revision 0.")], loss=9.0)
    assert story.incident.state == "escalated"
    assert len(story.commands) == 3


def test_a_failed_remedy_is_escalated_at_once() -> None:
    story = Story()
    story.judge(story.finding(), loss=9.0)
    story.judge(answers=[story.answer("failed", "Failed after 1 of 4 actions.")], loss=9.0)
    assert story.incident.state == "escalated"
    assert len(story.commands) == 1


def test_an_unanswered_command_expires_and_is_decided_again() -> None:
    story = Story()
    story.judge(story.finding(onset=395), loss=9.0)
    story.step += 3_001
    story.judge(loss=9.0)
    assert len(story.commands) == 2
    assert story.commands[0].command_id != story.commands[1].command_id


def test_a_loss_that_never_comes_back_counts_as_not_recovered() -> None:
    story = Story()
    story.judge(story.finding(onset=395), loss=9.0)
    story.judge(answers=[story.answer()])
    story.walk(400, loss=4.0)
    assert "remedy 2 of 4" in story.decisions[-1].reason


def test_findings_of_an_abandoned_attempt_say_nothing_about_the_present() -> None:
    story = Story()
    story.judge(story.finding(onset=395), loss=9.0)
    late = story.finding(onset=396)
    story.judge(late, answers=[story.answer()])
    assert story.incident.state == "watching"
    assert len(story.commands) == 1


def test_a_warning_on_probation_may_heal_and_the_probation_goes_on() -> None:
    story = Story()
    story.judge(story.finding(onset=395), loss=9.0)
    story.judge(answers=[story.answer()])
    story.walk(5)
    story.judge(story.finding("loss_spike", "warning"), loss=3.5)
    story.walk(10)
    assert story.incident.state == "watching"
    story.walk(100)
    assert story.incident.state == "resolved"
    assert len(story.commands) == 1


def test_a_plateau_is_told_never_treated() -> None:
    story = Story()
    story.judge(story.finding("plateau", "warning"))
    story.walk(50)
    assert story.commands == []
    assert [one.verdict for one in story.decisions] == ["nothing"]
    assert "annealing" in story.decisions[0].reason


def test_a_plateau_does_not_hide_a_divergence() -> None:
    story = Story()
    story.judge(story.finding("plateau", "warning"))
    story.judge(story.finding(), loss=9.0)
    assert story.commands[-1].action == "rollback"


def test_information_opens_no_incident() -> None:
    story = Story()
    story.judge(story.finding("loss_spike", "info"))
    assert story.memory.incidents == ()


def test_the_end_of_a_healthy_run_resolves_and_of_a_sick_one_escalates() -> None:
    for loss, state in ((2.3, "resolved"), (9.0, "escalated")):
        story = Story()
        story.judge(story.finding(onset=395), loss=9.0)
        story.judge(answers=[story.answer()])
        story.run_state = "finished"
        story.judge(loss=loss)
        assert story.incident.state == state


def test_a_silence_hushes_notices_but_not_decisions() -> None:
    story = Story()
    story.silenced = True
    story.judge(story.finding(), loss=9.0)
    assert story.notices == []
    assert len(story.commands) == 1


def test_a_bug_of_thirty_times_the_rate_is_undone_in_one_move() -> None:
    story = Story()
    story.judge(story.finding(onset=395, learning_rate_before=1e-3, learning_rate_at=3e-2), loss=9.0)
    assert factor_of(story) == pytest.approx(1 / 30, rel=1e-3)
    assert "30 times its healthy value" in story.decisions[-1].reason


def test_a_rate_that_is_known_to_have_been_good_says_more_than_the_one_before_the_onset() -> None:
    rates = {"learning_rate_good": 5e-3, "learning_rate_before": 4e-2, "learning_rate_at": 9e-2}
    factor, why = choose_factor(Rung(name="first"), rates)
    assert factor == pytest.approx(5 / 90, rel=1e-3)
    assert why == "the rate was 18 times its healthy value"


@given(
    before=st.floats(1e-12, 1e6),
    ratio=st.floats(0.01, 1e6),
    healthy=st.sampled_from(["learning_rate_before", "learning_rate_good", "update_ratio_before"]),
)
def test_a_cut_stays_within_its_bounds(before: float, ratio: float, healthy: str) -> None:
    rung = Rung(name="first")
    at = f"{healthy.rpartition('_')[0]}_at"
    factor, _ = choose_factor(rung, {healthy: before, at: before * ratio})
    assert 1 / 33 < factor <= 0.5


@given(st.lists(st.tuples(st.integers(0, 500), st.sampled_from(["candidate", "confirmed", "suspect", "removed"]))))
def test_only_a_confirmed_checkpoint_from_before_the_onset_is_chosen(known: list[tuple[int, str]]) -> None:
    reports = [checkpoint(step, state) for step, state in known]  # type: ignore[arg-type]
    chosen = choose_checkpoint(reports, 250)
    good = [one.step for one in reports if one.state == "confirmed" and one.step <= 250]
    assert (chosen.step if chosen else None) == (max(good) if good else None)


@settings(max_examples=60)
@given(st.lists(st.sampled_from(["calm", "bad", "spike", "critical", "answer", "refuse"]), max_size=60))
def test_no_command_is_made_twice_and_none_without_a_reason(events: list[str]) -> None:
    story = Story()
    for event in events:
        story.step += 1
        pending = story.commands[-1] if story.memory.active() and story.incident.state == "recovering" else None
        if event == "spike":
            story.judge(story.finding("loss_spike", "warning"), loss=5.0)
        elif event == "critical":
            story.judge(story.finding(), loss=9.0)
        elif event in ("answer", "refuse") and pending is not None:
            story.judge(answers=[story.answer("applied" if event == "answer" else "refused")])
        else:
            story.judge(loss=9.0 if event == "bad" else 2.3)
    ids = [one.command_id for one in story.commands]
    assert len(ids) == len(set(ids))
    assert all(one.reason for one in story.decisions)
    recovering = [one for one in story.memory.incidents if one.state == "recovering"]
    assert len(recovering) <= 1
    assert all(one.command_id is not None for one in recovering)


def test_a_playbook_with_a_misspelt_key_is_refused_by_name() -> None:
    with pytest.raises(ValidationError, match=r"rewarm_step\n"):
        Rung.model_validate({"name": "x", "rewarm_step": 3})
    with pytest.raises(ValidationError, match="explosion is no kind of incident"):
        Playbook(ladders={"explosion": Ladder(rungs=(Rung(name="x"),))})
    with pytest.raises(ValidationError, match="nothing after it can be reached"):
        Ladder(rungs=(Rung(name="stop", halt=True), Rung(name="x")))
    with pytest.raises(ValidationError, match="rungs is empty"):
        Ladder(treatment="treat")


def orders_of(rung: Rung, **evidence: float) -> tuple[object, ...]:
    story = Story(playbook=Playbook(ladders={"divergence": Ladder(rungs=(rung,))}))
    story.judge(story.finding(onset=395, **evidence), loss=9.0)
    return story.commands[-1].orders if story.commands else ()


def test_everything_that_a_trainer_can_do_to_recover_can_stand_in_a_rung() -> None:
    rung = Rung(
        name="all", rollback="none", learning_rate_factor=0.5, reset_moments=True, rewarm_steps=3, skip_batches=4,
        skip_updates=2, clip_norm=1.0, clip_times_healthy=2.0, loss_scale="initial",
    )  # fmt: skip
    assert orders_of(rung, grad_norm_before=0.25, grad_norm_at=9.0) == (
        LowerLearningRate(factor=0.5), ResetMoments(), TightenClipping(max_norm=0.5), SetLossScale(),
        SkipDataWindow(batches=5), SkipUpdate(updates=2), RewarmUp(steps=3),
    )  # fmt: skip


def test_how_far_back_can_be_said_in_steps() -> None:
    story = Story(playbook=Playbook(ladders={"divergence": Ladder(rungs=(Rung(name="far", steps_before_onset=50),))}))
    story.judge(story.finding(onset=395), loss=9.0)
    assert restored_by(story) == 300
    assert orders_of(Rung(name="clip", rollback="none", learning_rate_factor=1, clip_times_healthy=2.0)) == ()


def test_the_safe_playbook_never_halts() -> None:
    for ladder in Playbook.safe().ladders.values():
        assert not any(rung.halt for rung in ladder.rungs)


BURST = {"learning_rate_before": 1e-3, "learning_rate_at": 1.6e-3, "grad_norm_before": 0.4, "grad_norm_at": 40.0}
"""A gradient that exploded while a warm-up went on."""


def test_a_gradient_that_explodes_is_held_and_the_rate_kept_before_it_is_cut() -> None:
    story = Story()
    story.judge(story.finding(onset=395, **BURST), loss=9.0)
    assert story.commands[-1].orders[1:] == (
        TightenClipping(max_norm=0.8), SkipDataWindow(batches=16), RewarmUp(steps=10),
    )  # fmt: skip
    story.judge(answers=[story.answer()])
    story.walk(5)
    story.judge(story.finding(onset=story.step - 2, **BURST), loss=9.0)
    assert factor_of(story) == 0.5, "a cause has its own remedy once; then the ladder goes on"
    story.judge(answers=[story.answer()])
    story.walk(500)
    assert story.clip_norm == 0.8
    assert "Gradient norms stay held at or below 0.8" in story.incident.outcome


def test_a_gradient_that_exploded_under_a_raised_rate_is_no_reason_to_spare_the_rate() -> None:
    story = Story()
    story.judge(story.finding(onset=395, **{**BURST, "learning_rate_at": 2e-2}), loss=9.0)
    assert factor_of(story) == 0.05


def test_an_explosion_that_healed_is_not_waited_for_a_second_time() -> None:
    story = Story()
    story.step = 320
    story.judge(story.finding("loss_spike", "warning", onset=320, **BURST), loss=5.0)
    story.walk(10)
    assert story.incident.state == "resolved"
    story.step = 400
    story.judge(story.finding("loss_spike", "warning", onset=400, **BURST), loss=5.0)
    assert restored_by(story) == 200, "deeper than right before its first sign"
    assert TightenClipping(max_norm=0.8) in story.commands[-1].orders
    story.judge(answers=[story.answer()])
    story.walk(400)
    assert (story.incident.state, story.incident.cause) == ("resolved", "rate")
    assert story.clip_norm == 0.8, "it is no bad batch, so the limit stays"


def test_what_would_be_done_about_it_stays_proposed() -> None:
    story = Story(mode="advise")
    story.step = 320
    story.judge(story.finding("loss_spike", "warning", onset=320, **BURST), loss=5.0)
    story.walk(10)
    story.step = 400
    story.judge(story.finding("loss_spike", "warning", onset=400, **BURST), loss=5.0)
    story.walk(5, loss=5.0)
    assert [one.verdict for one in story.decisions] == ["wait", "propose"]


def test_a_run_that_fails_at_once_at_a_steady_rate_is_warmed_up_and_keeps_its_rate() -> None:
    story = Story()
    story.step = 9
    story.description = RunDescription(
        run_id=UUID(int=1), run="rnn", started_at=0.0, config={"schedulers": ["LambdaLR"], "optimizers": []}
    )
    story.judge(story.finding(onset=8, learning_rate_before=0.5, learning_rate_at=0.49), loss=9.0)
    assert [type(order) for order in story.commands[-1].orders] == [Rollback, RewarmUp]
    assert story.commands[-1].orders[1] == RewarmUp(steps=100)


def test_eight_steps_in_a_row_that_are_not_finite_are_enough_and_the_rate_is_kept() -> None:
    story = Story()
    story.judge(story.finding("non_finite", "warning", onset=400), loss=2.3, streak=1)
    for streak in range(2, 8):
        story.step += 1
        story.judge(loss=2.3, streak=streak)
        assert not story.commands
    story.step += 1
    story.judge(loss=2.3, streak=8)
    assert [type(order) for order in story.commands[-1].orders] == [Rollback, SkipDataWindow, RewarmUp]


def test_updates_that_are_as_large_as_the_gradients_are_held_and_not_cut_as_well() -> None:
    grown = {"update_ratio_before": 1e-3, "update_ratio_at": 2e-2}
    story = Story()
    story.judge(story.finding(onset=390, **grown), loss=9.0)
    assert factor_of(story) == 0.05
    story = Story()
    story.judge(story.finding(onset=390, grad_norm_before=0.5, grad_norm_at=4.5, **grown), loss=9.0)
    assert factor_of(story) == 0.5
    assert TightenClipping(max_norm=2.0) in story.commands[-1].orders


def test_an_explosion_that_seemed_to_heal_within_a_slower_trouble_is_a_part_of_it() -> None:
    story = Story()
    story.step = 390
    story.judge(story.finding("loss_spike", "warning", onset=390, **BURST), loss=5.0)
    story.walk(10)
    assert story.incident.state == "resolved"
    story.step = 401
    slow = {**BURST, "grad_norm_before": 0.5, "grad_norm_at": 0.6, "learning_rate_good": 1e-4}
    story.judge(story.finding(onset=385, **slow), loss=5.0)
    assert TightenClipping(max_norm=0.8) in story.commands[-1].orders
    assert not any(isinstance(order, LowerLearningRate) for order in story.commands[-1].orders)
