"""Who decides: the service while its lease lasts, the trainer where there is none."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from client_hook.local_brain import LocalBrain, Standing
from trainguard.policy import Playbook
from trainguard.wire import Acknowledgement, CheckpointReport, Observation, Receipt

RUN = UUID(int=7)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def _brain(clock: Clock, *, has_server: bool, **options: Any) -> LocalBrain:
    brain = LocalBrain(run_id=RUN, mode="act", standing=Standing(), clock=clock, has_server=has_server, **options)
    brain.consider(
        [
            CheckpointReport(checkpoint_id=UUID(int=step), attempt=0, step=step, state="confirmed", saved_at=0.0)
            for step in (0, 40, 80)
        ]
    )
    return brain


def _healthy(first: int, last: int, attempt: int = 0) -> list[Observation]:
    return [
        Observation(attempt, step, float(step), {"loss": 2.0 + 0.02 * ((step * 7) % 5), "grad_norm": 1.0})
        for step in range(first, last)
    ]


def _broken(first: int, last: int, attempt: int = 0) -> list[Observation]:
    return [Observation(attempt, step, float(step), {"loss": float("nan")}) for step in range(first, last)]


def _receipt(lease_seconds: float = 60.0, **told: Any) -> Receipt:
    return Receipt(
        run_id=RUN, sender=uuid4(), sequence=1, status="recorded", server_time=0.0, lease_seconds=lease_seconds, **told
    )


def test_without_a_server_it_decides_with_the_whole_playbook() -> None:
    brain = _brain(Clock(), has_server=False)
    brain.consider(_healthy(0, 100))
    considered = brain.consider(_broken(100, 106))
    [command] = considered.commands
    assert command.action == "rollback"
    assert brain.playbook.name == "default"
    assert considered.flush_now


def test_while_the_service_holds_its_lease_it_only_raises_the_alarm() -> None:
    clock = Clock()
    brain = _brain(clock, has_server=True)
    brain.heard(_receipt())
    brain.consider(_healthy(0, 100))
    considered = brain.consider(_broken(100, 106))
    assert not considered.commands
    assert considered.flush_now
    assert considered.concerns[-1].is_critical
    assert brain.is_troubled


def test_when_the_lease_has_run_out_it_acts_from_the_safe_playbook() -> None:
    clock = Clock()
    brain = _brain(clock, has_server=True)
    brain.heard(_receipt(lease_seconds=60.0))
    brain.consider(_healthy(0, 100))
    clock.now += 61.0
    [command] = brain.consider(_broken(100, 106)).commands
    assert command.action == "rollback"
    assert brain.playbook.name == "safe"
    brain.heard(_receipt())
    assert not brain.is_in_charge


PROJECT = {"extends": "default", "name": "careful", "probation_steps": 99, "ladders": {"non_finite": {
    "treatment": "treat", "rungs": [{"name": "back", "learning_rate_factor": 0.3}, {"name": "end", "halt": True}],
}}}  # fmt: skip


def test_a_projects_playbook_is_gone_by_once_the_service_has_told_it() -> None:
    clock, kept = Clock(), []
    brain = _brain(clock, has_server=True, remember_playbook=kept.append)
    brain.heard(_receipt(playbook=PROJECT))
    brain.heard(_receipt())
    assert (brain.playbook.name, brain.playbook.probation_steps) == ("careful (safe)", 99)
    assert [rung.name for rung in brain.playbook.ladder("non_finite").rungs] == ["back"], "it never halts"
    assert brain.playbook.budget.rollbacks == 2
    [told] = kept
    later = _brain(clock, has_server=True, project_playbook=told)
    assert later.playbook == brain.playbook, "and a trainer that is started again has it from its journal"
    brain.heard(_receipt(playbook={"extends": "default"}))
    assert brain.playbook.name == "safe", "the project has none any more"


def test_a_playbook_that_is_not_understood_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    brain = _brain(Clock(), has_server=True)
    brain.heard(_receipt(playbook={**PROJECT, "invented_later": 1}))
    assert brain.playbook.name == "safe"
    assert "does not understand (invented_later" in caplog.text


def test_a_runs_own_playbook_beats_its_projects_here_too() -> None:
    brain = _brain(Clock(), has_server=True, playbook=Playbook.default().model_copy(update={"name": "mine"}))
    brain.heard(_receipt(playbook=PROJECT))
    assert brain.playbook.name == "mine (safe)"


def test_what_the_service_tried_is_not_tried_again_when_it_is_gone() -> None:
    brain = _brain(Clock(), has_server=True)
    answer = Acknowledgement(
        command_id=uuid4(),
        status="applied",
        action="rollback",
        attempt=1,
        revision=1,
        step=90,
        next_step=80,
        handled_at=0.0,
        reason="Rolled back.",
    )
    brain.consider([answer])
    assert brain.memory.rung("instability") == 1


def test_an_alarm_that_the_service_heard_and_died_over_is_acted_on_when_its_lease_is_over() -> None:
    clock = Clock()
    brain = _brain(clock, has_server=True)
    brain.heard(_receipt(lease_seconds=60.0))
    brain.consider(_healthy(0, 100))
    considered = brain.consider(_broken(100, 110))
    assert considered.concerns
    assert not considered.commands
    clock.now += 61.0
    [command] = brain.consider(_broken(110, 111)).commands
    assert command.action == "rollback"
    assert not brain.consider(_broken(111, 115)).commands, "once"


def test_what_the_service_has_adopted_is_let_go() -> None:
    clock = Clock()
    brain = _brain(clock, has_server=True)
    brain.heard(_receipt(lease_seconds=1.0))
    brain.consider(_healthy(0, 100))
    clock.now += 2.0
    assert brain.consider(_broken(100, 106)).commands
    [incident] = brain.memory.active()
    brain.heard(_receipt().model_copy(update={"adopted": [uuid4()]}))
    assert brain.memory.active() == (incident,)
    brain.heard(_receipt().model_copy(update={"adopted": [incident.incident_id]}))
    assert brain.memory.active() == ()
    assert not brain.consider(_broken(106, 110)).commands


def test_an_answer_that_is_told_again_is_no_second_remedy() -> None:
    brain = _brain(Clock(), has_server=True)
    answer = Acknowledgement(
        command_id=uuid4(), status="applied", action="rollback", attempt=1, revision=1, step=90, next_step=80,
        handled_at=0.0, reason="Rolled back.",
    )  # fmt: skip
    brain.consider([answer])
    brain.consider([answer, answer])
    assert brain.memory.rung("instability") == 1


def test_the_detectors_go_back_with_the_model_and_the_memory_of_policy_does_not() -> None:
    brain = _brain(Clock(), has_server=False)
    brain.consider(_healthy(0, 100))
    saved = brain.save()
    brain.consider(_broken(100, 106))
    assert brain.is_troubled
    incidents = brain.memory.incidents
    brain.rewind(saved, attempt=1, next_step=80)
    assert brain.memory.incidents == incidents
    assert not brain.is_troubled
    assert brain.seen_step == 79
    assert brain.consider(_broken(106, 110, attempt=0)).concerns == [], "steps of the abandoned attempt are history"


def test_the_answer_does_not_depend_on_how_observations_were_batched() -> None:
    stream = _healthy(0, 100) + _broken(100, 112)
    one, many = _brain(Clock(), has_server=False), _brain(Clock(), has_server=False)
    together = one.consider(stream).commands
    apart = [command for item in stream for command in many.consider([item]).commands]
    assert [command.command_id for command in together] == [command.command_id for command in apart]


def test_a_runs_own_thresholds_reach_its_detectors() -> None:
    found = []
    for detectors in (None, {"loss_spike": {"z": 1e6}}):
        brain = LocalBrain(
            run_id=RUN, mode="observe", standing=Standing(), clock=Clock(), has_server=False, detectors=detectors
        )
        brain.consider(_healthy(0, 60))
        spike = Observation(0, 60, 60.0, {"loss": 30.0, "grad_norm": 1.0})
        found.append([one.kind for one in brain.consider([spike]).messages if hasattr(one, "detector")])
    assert found == [["loss_spike"], []]
