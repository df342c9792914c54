"""A rate that was lowered for a cause that has passed comes back; one that was the cause stays where it is."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from tests.policy.story import Story
from trainguard.policy import Playbook, RateReturn, learn_from
from trainguard.policy.remedy import choose_factor
from trainguard.wire import LoosenClipping, LowerLearningRate, ScaleLearningRate, TightenClipping

STEADY = {"learning_rate_before": 1e-3, "learning_rate_at": 1e-3}
RAISED = {"learning_rate_before": 1e-3, "learning_rate_at": 2e-2}
BURST = {**STEADY, "update_ratio_before": 1e-3, "update_ratio_at": 2e-2}


def recovered(*, playbook: Playbook | None = None, delay: int = 1, mode: Any = "act", **evidence: float) -> Story:
    """A run that was rolled back and has passed its probation."""
    story = Story(mode=mode, playbook=playbook)
    story.judge(story.finding(onset=story.step - delay, **evidence), loss=9.0)
    story.judge(answers=[story.answer()])
    story.walk(story.incident.watch_until_step - story.step if story.incident.watch_until_step else 0)
    return story


def raises(story: Story) -> list[float]:
    return [
        order.factor for command in story.commands for order in command.orders if isinstance(order, ScaleLearningRate)
    ]


def test_after_bad_data_the_rate_comes_back() -> None:
    story = recovered(**STEADY)
    assert (story.incident.state, story.incident.cause) == ("resolved", "passing")
    assert "the learning rate comes back in steps" in story.incident.outcome
    assert story.incident.rate_factor == 0.5
    assert raises(story) == [2.0]
    command = story.commands[-1]
    assert (command.attempt, command.revision) == (1, 1), "by the same road, behind the same fence"
    assert command.incident_id == story.incident.incident_id
    assert story.decisions[-1].reason.startswith("Multiply the learning rate by 2, which gives back the whole of it")
    story.walk(20)
    assert len(raises(story)) == 1, "one at a time"
    story.judge(answers=[story.answer()])
    story.walk(300)
    assert raises(story) == [2.0]
    assert story.memory.rate_debt is None
    assert story.incident.rate_factor == 1.0


@pytest.mark.parametrize(
    ("evidence", "delay", "cause"),
    [(RAISED, 1, "rate"), (STEADY, 30, "unknown"), ({}, 1, "unknown"),
     ({"learning_rate_before": 1e-3, "learning_rate_at": 1.2e-3}, 1, "rate")],
    ids=["it was raised", "it came slowly", "nothing is known", "it was rising"],
)  # fmt: skip
def test_where_it_may_have_been_the_rate_it_stays(evidence: dict[str, float], delay: int, cause: str) -> None:
    story = recovered(delay=delay, **evidence)
    story.walk(500)
    assert story.incident.cause == cause
    assert raises(story) == []
    assert "The learning rate stays multiplied by" in story.incident.outcome


def test_a_run_that_began_too_fast_is_warm_now() -> None:
    story = Story()
    story.step = 4
    story.judge(story.finding(onset=2), loss=9.0)
    story.judge(answers=[story.answer()])
    story.walk(60)
    assert story.incident.cause == "passing"
    assert raises(story) == [2.0]


def test_what_was_seen_at_the_first_remedy_stands_while_the_rate_warms_up_again() -> None:
    story = Story()
    story.judge(story.finding(onset=story.step - 1, **STEADY), loss=9.0)
    story.judge(answers=[story.answer()])
    story.walk(3)
    story.judge(story.finding("grad_explosion", "warning", learning_rate_before=1e-4, learning_rate_at=5e-4), loss=2.4)
    story.walk(100)
    assert (story.incident.state, story.incident.cause) == ("resolved", "passing")


def test_a_deep_cut_comes_back_in_steps_and_never_beyond_what_it_was() -> None:
    back = RateReturn(step_factor=2.0, every_steps=40)
    first, *others = Playbook.default().ladder("divergence").rungs
    deep = first.model_copy(update={"learning_rate_factor": 0.1})
    ladder = Playbook.default().ladder("divergence").model_copy(update={"rungs": (deep, *others)})
    story = recovered(playbook=Playbook(rate_return=back, ladders={"divergence": ladder}), **STEADY)
    gaps = []
    while story.memory.rate_debt is not None:
        made = story.step
        story.judge(answers=[story.answer()])
        while story.memory.rate_debt is not None and story.memory.rate_debt.command_id is None:
            story.walk(1)
        gaps.append(story.step - made)
    assert raises(story) == pytest.approx([2.0, 2.0, 2.0, 1.25])
    assert all(gap >= 40 for gap in gaps[:-1])


def test_nothing_is_raised_while_the_loss_is_out_of_its_band() -> None:
    story = recovered(**STEADY)
    story.judge(answers=[story.answer("refused", "Refused: not now.")])
    story.walk(100, loss=4.0)
    assert raises(story) == [2.0]
    story.walk(1)
    assert raises(story) == [2.0, 2.0]


def test_it_is_not_tried_for_ever() -> None:
    story = recovered(**STEADY)
    for _ in range(3):
        story.judge(answers=[story.answer("refused", "Refused: not now.")])
        story.walk(60)
    assert len(raises(story)) == 3
    assert story.memory.rate_debt is None
    assert "tried 3 times in vain" in story.decisions[-1].reason


def test_a_trouble_that_comes_back_with_the_rate_says_that_it_was_the_rate() -> None:
    first = Playbook.default().ladder("divergence").rungs[0].model_copy(update={"learning_rate_factor": 0.25})
    rungs = (first, *Playbook.default().ladder("divergence").rungs[1:])
    ladder = Playbook.default().ladder("divergence").model_copy(update={"rungs": rungs})
    story = recovered(playbook=Playbook(ladders={"divergence": ladder}), **STEADY)
    story.judge(answers=[story.answer()])
    story.walk(10)
    story.judge(story.finding(onset=story.step - 1, **STEADY), loss=9.0)
    story.judge(answers=[story.answer()])
    assert story.memory.rate_debt is None
    assert story.memory.rate_returned_in_vain
    story.walk(800)
    assert story.incident.state == "resolved"
    assert len(raises(story)) == 1


def test_a_playbook_can_leave_the_rate_where_it_is() -> None:
    story = recovered(
        playbook=Playbook.default().model_copy(update={"rate_return": RateReturn(is_wanted=False)}), **STEADY
    )
    story.walk(200)
    assert raises(story) == []


def test_a_burst_of_bad_data_says_nothing_of_how_far_to_cut() -> None:
    story = recovered(**BURST)
    [cut] = [order for order in story.commands[0].orders if isinstance(order, LowerLearningRate)]
    assert cut.factor == 0.5
    rung = Playbook.default().ladder("divergence").rungs[0]
    assert choose_factor(rung, BURST)[0] == 0.05, "where it did not come at once, the size of the updates counts"


def loosenings(story: Story) -> list[float | None]:
    return [
        order.max_norm for command in story.commands for order in command.orders if isinstance(order, LoosenClipping)
    ]


EXPLODED = {**STEADY, "grad_norm_before": 0.5, "grad_norm_at": 4.0}
"""Enough for a limit of four times its healthy norm, and too little for a remedy of its own."""


def test_a_limit_for_gradients_goes_after_the_rate_has_come_back() -> None:
    story = recovered(**EXPLODED)
    assert TightenClipping(max_norm=2.0) in story.commands[0].orders
    assert story.incident.clip_norm == 2.0
    assert "comes back in steps and then the limit for gradient norms goes" in story.incident.outcome
    made = []
    while story.memory.rate_debt is not None:
        made.append((raises(story)[:], loosenings(story)[:]))
        story.judge(answers=[story.answer()])
        story.walk(51)
    assert made == [([2.0], []), ([2.0], [4.0]), ([2.0], [4.0, 8.0]), ([2.0], [4.0, 8.0, None])]
    assert (story.lr_scale, story.clip_norm, story.incident.clip_norm) == (1.0, None, None)
    assert (
        "Hold gradient norms no more, because they were held for a cause that has passed" in story.decisions[-1].reason
    )


def test_a_limit_that_was_there_before_is_there_again() -> None:
    story = Story()
    story.clip_norm = 3.0
    story.judge(story.finding(onset=story.step - 1, **EXPLODED), loss=9.0)
    story.judge(answers=[story.answer()])
    story.walk(71)
    while story.memory.rate_debt is not None:
        story.judge(answers=[story.answer()])
        story.walk(51)
    assert loosenings(story) == [3.0]
    assert story.clip_norm == 3.0


def test_a_limit_that_held_a_run_together_stays() -> None:
    story = recovered(delay=30, **EXPLODED)
    story.walk(500)
    assert story.incident.cause == "unknown"
    assert loosenings(story) == []
    assert "Gradient norms stay held at or below 2" in story.incident.outcome


def test_a_trainer_that_knows_no_loosening_has_its_rate_back_all_the_same() -> None:
    story = recovered(**EXPLODED)
    story.judge(answers=[story.answer()])
    story.walk(51)
    for _ in range(3):
        story.judge(answers=[story.answer("refused", "Refused: this trainer does not know the action.")])
        story.walk(60)
    assert story.lr_scale == 1.0
    assert loosenings(story) == [4.0] * 3
    assert story.memory.rate_debt is None
    assert "a person may lift it" in story.decisions[-1].reason


def test_what_another_hand_has_given_back_is_not_given_back_twice() -> None:
    story = recovered(**STEADY)
    mine = story.answer("refused", "Refused: something else was applied in the meantime.")
    story.revision, story.lr_scale = story.revision + 1, 1.0
    theirs = mine.model_copy(
        update={
            "command_id": UUID(int=9), "status": "applied", "action": "scale_learning_rate",
            "revision": story.revision, "changes": {"lr_scale": 1.0, "lr_scale_before": 0.5},
        }
    )  # fmt: skip
    story.memory = learn_from(story.memory, [theirs], story.playbook, 0.0)
    story.judge(answers=[mine])
    story.walk(300)
    assert raises(story) == [2.0], "the one that was refused"
    assert story.memory.rate_debt is None
