"""The stage: an incident carries its diagnosis from the moment it opens, and it follows the evidence."""

from __future__ import annotations

from tests.policy.story import Story


def test_an_incident_opens_with_a_diagnosis_that_is_told_with_it() -> None:
    story = Story()
    judgement = story.judge(story.finding(learning_rate_before=0.1, learning_rate_at=2.0))
    [report] = judgement.incidents
    assert report.diagnosis[0].cause == "learning_rate_raised"
    assert story.incident.diagnosis == report.diagnosis


def test_new_evidence_changes_the_diagnosis() -> None:
    story = Story(mode="advise")
    story.judge(story.finding("loss_spike", "warning"))
    assert "learning_rate_raised" not in {one.cause for one in story.incident.diagnosis}
    story.step += 1
    story.judge(story.finding("divergence", learning_rate_before=0.1, learning_rate_at=2.0), loss=9.0)
    assert story.incident.diagnosis[0].cause == "learning_rate_raised"


def test_a_quiet_moment_diagnoses_nothing() -> None:
    story = Story()
    assert not story.judge().changed
