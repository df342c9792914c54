"""What a person is asked, and what is made of the answer."""

from __future__ import annotations

from tests.policy.story import Story, checkpoint
from trainguard.policy import Budget, Ladder, Playbook, Rung
from trainguard.wire import Rollback


def proposals(story: Story) -> list[str]:
    return [one.reason for one in story.decisions if one.verdict == "propose"]


def test_a_proposal_expires_and_is_made_anew_of_the_run_as_it_then_is_and_told_once() -> None:
    story = Story(mode="advise", playbook=Playbook.default().model_copy(update={"proposal_valid_seconds": 5.0}))
    story.judge(story.finding(onset=395), loss=9.0)
    first = story.decisions[-1]
    assert first.expires_at == 1000.0 + 0.1 * 400 + 5.0
    story.walk(49, loss=9.0)
    assert len(proposals(story)) == 1
    story.walk(2, loss=9.0)
    second = story.decisions[-1]
    assert len(proposals(story)) == 2
    assert second.decision_id != first.decision_id
    assert second.step == 450
    assert story.notices == ["opened", "needs_approval"]


def test_a_proposal_whose_checkpoint_has_gone_is_made_anew_at_once() -> None:
    story = Story(mode="advise")
    story.judge(story.finding(onset=395), loss=9.0)
    story.checkpoints.remove(checkpoint(380))
    story.walk(1, loss=9.0)
    target = story.decisions[-1].orders[0]
    assert isinstance(target, Rollback)
    assert target.checkpoint_id == checkpoint(300).checkpoint_id
    assert len(proposals(story)) == 2


def test_what_was_declined_is_not_proposed_again_until_it_changes() -> None:
    story = Story(mode="advise")
    story.judge(story.finding("loss_spike", "critical", onset=395), loss=9.0)
    incident = story.incident
    declined = incident.model_copy(update={"declined": incident.circumstances, "decided": ""})
    story.memory = story.memory.with_incident(declined)
    story.walk(30, loss=9.0)
    assert len(proposals(story)) == 1
    story.judge(story.finding("divergence"), loss=9.0)
    assert len(proposals(story)) == 2, "a graver trouble is another question"


def test_how_often_and_how_soon_again() -> None:
    rungs = tuple(Rung(name=f"rung {n}") for n in range(5))
    story = Story(playbook=Playbook(ladders={"divergence": Ladder(rungs=rungs, at_most=2, again_after_steps=30)}))
    story.judge(story.finding(onset=395), loss=9.0)
    story.judge(answers=[story.answer()])
    story.walk(15)
    story.judge(story.finding(onset=394), loss=9.0)
    assert len(story.commands) == 1
    assert "Wait until step 410" in story.decisions[-1].reason
    story.walk(15, loss=9.0)
    assert len(story.commands) == 2
    story.judge(answers=[story.answer()])
    story.walk(40)
    story.judge(story.finding(onset=394), loss=9.0)
    assert len(story.commands) == 2
    assert story.incident.state == "escalated"
    assert "the 2 remedies that the playbook allows were tried" in story.incident.outcome


def failing_at(story: Story, onset: int) -> None:
    story.step = max(story.step, onset + 5)
    story.judge(story.finding(onset=onset), loss=9.0)


def test_remedies_that_bring_the_run_no_further_end_in_a_halt_and_progress_counts_anew() -> None:
    rungs = (*(Rung(name=f"rung {n}") for n in range(20)), Rung(name="stop", rollback="none", halt=True))
    playbook = Playbook(ladders={"divergence": Ladder(rungs=rungs)}, budget=Budget(rollbacks=20, without_progress=2))
    story = Story(playbook=playbook)
    for onset in (395, 420, 440, 460):
        failing_at(story, onset)
        assert story.commands[-1].action == "rollback", onset
        story.judge(answers=[story.answer()])
    failing_at(story, 450)
    assert story.commands[-1].action == "rollback"
    story.judge(answers=[story.answer()])
    failing_at(story, 455)
    assert story.commands[-1].action == "halt"
    assert "2 remedies in a row brought the run no further than step 465" in story.decisions[-1].reason


def test_the_time_that_was_thrown_away_is_counted_once() -> None:
    story = Story()
    story.judge(story.finding(onset=395), loss=9.0)
    restored = str(checkpoint(380).checkpoint_id)
    answer = story.answer().model_copy(update={"handled_at": 404.0, "changes": {"checkpoint_id": restored}})
    story.judge(answers=[answer])
    assert story.incident.seconds_lost == 24.0
    story.walk(15)
    story.judge(story.finding(onset=394), loss=9.0)
    restored = str(checkpoint(300).checkpoint_id)
    answer = story.answer().model_copy(update={"handled_at": 420.0, "changes": {"checkpoint_id": restored}})
    story.judge(answers=[answer])
    assert story.incident.seconds_lost == 120.0, "not 24 + 120: the second stretch holds the first"
    assert story.memory.seconds_lost == 120.0
    story.walk(200)
    assert story.incident.state == "resolved"
    assert "steps and 120 s were lost." in story.incident.outcome
