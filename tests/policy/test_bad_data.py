"""A pocket of bad data that is longer than what was passed over: on, past it, from the same checkpoint."""

from __future__ import annotations

from tests.policy.story import Story, checkpoint
from trainguard.wire import LowerLearningRate, Rollback, SkipDataWindow, SkipUpdate

STEADY = {"learning_rate_before": 1e-3, "learning_rate_at": 1e-3}


def fails_again_at_once(story: Story, *, delay: int = 0, **evidence: float) -> None:
    """The loss of the first steps after the rollback is out of its band."""
    restored = story.step
    story.step = restored + delay + 4
    story.judge(story.finding(onset=restored + delay, **evidence), loss=9.0)


def skipped(story: Story) -> int:
    return sum(order.batches for order in story.commands[-1].orders if isinstance(order, SkipDataWindow))


def restored(story: Story) -> object:
    first = story.commands[-1].orders[0]
    assert isinstance(first, Rollback)
    return first.checkpoint_id


def begun(**evidence: float) -> Story:
    story = Story()
    story.judge(story.finding(onset=398, **evidence), loss=9.0)
    story.judge(answers=[story.answer()])
    return story


def test_twice_as_much_is_passed_over_from_the_same_checkpoint_with_no_further_cut() -> None:
    story = begun(**STEADY)
    assert skipped(story) == 16
    for batches in (32, 64, 128):
        fails_again_at_once(story, **STEADY)
        assert restored(story) == checkpoint(380).checkpoint_id
        assert skipped(story) == batches
        assert not any(isinstance(order, LowerLearningRate) for order in story.commands[-1].orders)
        assert "it is the data, neither the rate nor the checkpoint" in story.commands[-1].reason
        story.judge(answers=[story.answer()])
    assert story.memory.rung("instability") == 1, "no rung was climbed for it"
    story.walk(80)
    assert (story.incident.state, story.incident.cause) == ("resolved", "passing")


def test_where_no_batch_can_be_passed_over_the_updates_are_left_out() -> None:
    story = Story()
    story.judge(story.finding(onset=398, **STEADY), loss=9.0)
    story.judge(answers=[story.answer().model_copy(update={"changes": {"batches_skipped": 0}})])
    fails_again_at_once(story, **STEADY)
    assert SkipUpdate(updates=32) in story.commands[-1].orders


def test_it_ends() -> None:
    story = begun(**STEADY)
    for _ in range(5):
        fails_again_at_once(story, **STEADY)
        story.judge(answers=[story.answer()])
    fails_again_at_once(story, **STEADY)
    assert "remedy 2 of 4" in story.decisions[-1].reason


def test_what_comes_a_few_steps_later_or_with_a_raised_rate_is_not_of_the_data() -> None:
    story = begun(**STEADY)
    fails_again_at_once(story, delay=5, **STEADY)
    assert "remedy 2 of 4" in story.decisions[-1].reason
    raised = {"learning_rate_before": 1e-3, "learning_rate_at": 3e-2}
    story = begun(**raised)
    fails_again_at_once(story, **raised)
    assert "remedy 2 of 4" in story.decisions[-1].reason
