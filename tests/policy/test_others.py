"""Two brains and a person: what one of them did, the other knows."""

from __future__ import annotations

from uuid import UUID

from tests.policy.story import Story, checkpoint
from trainguard.policy import Playbook, PolicyMemory, adopt, given_up, learn_from
from trainguard.wire import Acknowledgement, IncidentReport, Rollback

PLAYBOOK = Playbook.default()


def by_another(revision: int = 1, attempt: int = 1) -> Acknowledgement:
    return Acknowledgement(
        command_id=UUID(int=revision), status="applied", action="rollback", attempt=attempt, revision=revision,
        step=400, next_step=300, handled_at=1.0, reason="Rolled back to the checkpoint of step 300.",
    )  # fmt: skip


def watched_elsewhere(story: Story) -> IncidentReport:
    """An incident that the other brain has treated, as it travels."""
    story.judge(story.finding(onset=398, learning_rate_before=1e-3, learning_rate_at=1e-3), loss=9.0)
    story.judge(answers=[story.answer()])
    return IncidentReport.model_validate_json(story.incident.report().model_dump_json())


def test_a_rollback_by_another_hand_climbs_the_ladder_once_however_often_it_is_told() -> None:
    memory = learn_from(PolicyMemory(), [by_another()], PLAYBOOK, 0.0)
    memory = learn_from(memory, [by_another(), by_another()], PLAYBOOK, 0.0)
    assert (memory.rung("instability"), memory.rollbacks, len(memory.tried)) == (1, 1, 1)


def test_a_person_who_rolls_back_puts_the_open_incident_on_probation() -> None:
    story = Story(mode="advise")
    story.judge(story.finding(onset=395), loss=9.0)
    story.memory = learn_from(story.memory, [by_another()], PLAYBOOK, 0.0)
    story.attempt, story.revision, story.step = 1, 1, 300
    assert (story.incident.state, story.incident.watch_until_step) == ("watching", 450)
    story.walk(149)
    assert story.incident.state == "watching"
    story.walk(1)
    assert story.incident.outcome.startswith("Recovered: at step 450")


def test_what_the_other_brain_began_is_followed_to_its_end() -> None:
    there = Story()
    report = watched_elsewhere(there)
    here = Story()
    here.memory = adopt(here.memory, [report], PLAYBOOK, step=380)
    here.attempt, here.revision, here.step = there.attempt, there.revision, there.step
    here.walk(70)
    assert here.incident.incident_id == report.incident_id
    assert (here.incident.state, here.incident.cause) == ("resolved", "passing")
    assert here.memory.rate_debt is not None, "and what was cut there comes back from here"


def test_a_relapse_after_the_adoption_climbs_the_next_rung_from_deeper() -> None:
    there = Story()
    report = watched_elsewhere(there)
    here = Story()
    here.memory = learn_from(here.memory, [by_another()], PLAYBOOK, 0.0)
    here.memory = adopt(here.memory, [report], PLAYBOOK, step=380)
    here.attempt, here.revision, here.step = there.attempt, there.revision, there.step
    here.walk(15)
    here.judge(here.finding(onset=394), loss=9.0)
    target = here.commands[-1].orders[0]
    assert isinstance(target, Rollback)
    assert target.checkpoint_id == checkpoint(300).checkpoint_id
    assert "remedy 2 of 4" in here.decisions[-1].reason


def test_who_adopts_and_who_gives_up_never_both_have_it() -> None:
    there = Story()
    report = watched_elsewhere(there)
    adopted = adopt(PolicyMemory(), [report], PLAYBOOK, step=380)
    left = given_up(there.memory, [one.incident_id for one in adopted.incidents])
    assert [one.incident_id for one in adopted.active()] == [report.incident_id]
    assert left.incidents == ()
    assert left.rung("instability") == 1, "what was tried is not forgotten"


def test_one_that_waits_for_its_answer_or_has_a_rival_stays_where_it_is() -> None:
    there = Story()
    there.judge(there.finding(onset=395), loss=9.0)
    assert there.incident.state == "recovering"
    assert adopt(PolicyMemory(), [there.incident.report()], PLAYBOOK, step=400) == PolicyMemory()
    here = Story()
    here.step = 399
    here.judge(here.finding(onset=390), loss=9.0)
    report = watched_elsewhere(Story())
    assert adopt(here.memory, [report], PLAYBOOK, step=400) == here.memory


def test_its_own_story_of_the_same_incident_is_replaced_only_by_a_later_one() -> None:
    here = Story(mode="observe")
    here.judge(here.finding(onset=395), loss=9.0)
    report = watched_elsewhere(Story())
    assert here.incident.incident_id == report.incident_id, "the same finding makes the same incident"
    memory = adopt(here.memory, [report], PLAYBOOK, step=400)
    assert memory.active()[0].state == "watching"
    assert adopt(memory, [here.incident.report()], PLAYBOOK, step=400) == memory


def test_one_that_was_resolved_elsewhere_leaves_its_debt_here() -> None:
    there = Story()
    watched_elsewhere(there)
    there.walk(70)
    assert there.incident.state == "resolved"
    memory = adopt(PolicyMemory(), [there.incident.report()], PLAYBOOK, step=451)
    assert memory.rate_debt is not None
    assert memory.rate_debt.owed == 2.0
    assert memory.active() == ()
    assert given_up(there.memory, [there.incident.incident_id]).rate_debt is None


def test_a_rate_that_the_other_brain_cut_comes_back_also_where_the_trouble_was_known_here_first() -> None:
    """The service had heard of the trouble and died over it; the trainer's own brain rolled back meanwhile."""
    there, here = Story(), Story()
    evidence = {"learning_rate_before": 1e-3, "learning_rate_at": 1e-3}
    here.judge(here.finding("loss_spike", "warning", onset=398, **evidence), loss=9.0)
    there.judge(there.finding("loss_spike", "warning", onset=398, **evidence), loss=9.0)
    there.step += 1
    there.judge(there.finding(onset=398, **evidence), loss=9.0)
    answer = there.answer()
    there.judge(answers=[answer])
    report = there.incident.report()
    assert report.incident_id == here.incident.incident_id, "the same finding makes the same incident"
    here.memory = learn_from(here.memory, [answer], PLAYBOOK, 0.0)
    here.memory = adopt(here.memory, [report], PLAYBOOK, step=here.step)
    assert given_up(there.memory, [one.incident_id for one in here.memory.incidents]).rate_debt is None
    here.attempt, here.revision, here.step, here.lr_scale = there.attempt, there.revision, there.step, there.lr_scale
    here.walk(80)
    assert (here.incident.state, here.incident.cause, here.incident.rate_factor) == ("resolved", "passing", 0.5)
    here.judge(answers=[here.answer()])
    assert here.lr_scale == 1.0


def test_one_by_another_hand_whose_figures_are_not_told_is_completed_by_the_report() -> None:
    here = Story(mode="observe")
    here.judge(here.finding(onset=395), loss=9.0)
    here.memory = learn_from(here.memory, [by_another()], PLAYBOOK, 0.0)
    assert here.incident.rate_factor == 1.0
    report = watched_elsewhere(Story())
    assert report.incident_id == here.incident.incident_id
    here.memory = adopt(here.memory, [report], PLAYBOOK, step=400)
    assert (here.incident.rate_factor, here.incident.cause) == (0.5, "passing")


def test_the_band_to_come_back_to_travels_with_the_incident() -> None:
    there = Story()
    first = there.finding("non_finite", "warning", onset=399)
    there.judge(first.model_copy(update={"evidence": {}}), loss=None, streak=1)
    there.judge(there.finding("grad_explosion", "warning", onset=399), loss=None, streak=2)
    here = adopt(PolicyMemory(), [there.incident.report()], PLAYBOOK, step=400)
    assert (here.incidents[0].loss_before, here.incidents[0].loss_band) == (2.3, 0.05)
