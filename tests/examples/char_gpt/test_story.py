from __future__ import annotations

from uuid import uuid4

from examples.char_gpt.story import read_story, rollbacks_of
from tests.examples.char_gpt.facts import ANSWER, DECISION, FINDING, INCIDENT


def test_a_rollback_is_told_with_the_incident_and_the_decision_behind_it() -> None:
    (fact,) = rollbacks_of([INCIDENT], [DECISION], [ANSWER], [FINDING])
    assert (fact.incident, fact.onset_step, fact.detected_step, fact.decided_step) == ("divergence", 60, 63, 64)
    assert (fact.checkpoint_step, fact.steps_lost, fact.lr_scale) == (50, 16, 0.03125)
    assert fact.decided_by == "server"


def test_a_refused_or_other_command_is_no_rollback() -> None:
    refused = ANSWER | {"status": "refused"}
    halted = ANSWER | {"action": "halt"}
    assert rollbacks_of([INCIDENT], [DECISION], [refused, halted], [FINDING]) == ()


def test_several_rollbacks_are_told_in_the_order_of_time() -> None:
    later = ANSWER | {"command_id": "c2", "handled_at": 9.0, "next_step": 25, "changes": {"lr_scale": 0.01}}
    second = DECISION | {"command_id": "c2", "attempt": 1, "decided_at": 8.0}
    seen_again = FINDING | {"attempt": 1, "step": 52, "onset_step": 51, "recorded_at": 7.0}
    facts = rollbacks_of([INCIDENT], [DECISION, second], [later, ANSWER], [FINDING, seen_again])
    assert [fact.checkpoint_step for fact in facts] == [50, 25]
    assert [(fact.onset_step, fact.detected_step) for fact in facts] == [(60, 63), (51, 52)]


def test_the_story_is_read_from_the_service() -> None:
    run_id = uuid4()
    answers = {
        f"/runs/{run_id}": {"state": "finished"},
        f"/runs/{run_id}/incidents": {"incidents": [INCIDENT]},
        f"/runs/{run_id}/decisions": {"decisions": [DECISION]},
        f"/runs/{run_id}/acknowledgements": {"acknowledgements": [ANSWER]},
        f"/runs/{run_id}/findings": {"findings": [FINDING]},
        f"/runs/{run_id}/attempts": {"attempts": [{}, {}]},
    }
    story = read_story(lambda path, **parameters: answers[path], run_id)
    assert (story.state, story.attempts, story.steps_lost, story.lr_scale) == ("finished", 2, 16, 0.03125)
