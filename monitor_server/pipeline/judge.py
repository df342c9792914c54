"""Judge: the shared brain, stage by stage, on the run as it is now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

from monitor_server.pipeline.case import Bench, Case, Stage
from monitor_server.pipeline.upkeep import playbook_of
from monitor_server.storage import incidents, reports
from trainguard.policy import Judgement, Playbook, PolicyMemory, Situation, adopt, learn_from
from trainguard.wire import CheckpointReport, Mode

PolicyStage = Callable[[Judgement, Situation, Playbook, float], Judgement]


_NOTHING_YET = PolicyMemory()


def assess(case: Case, bench: Bench) -> Case:
    """Put together what policy is shown, and what it remembers."""
    assert case.live is not None, "detect comes before assess"
    run = case.run
    if case.envelope.checkpoints:
        case.live.checkpoints = None
    memory = PolicyMemory() if run.policy_memory is None else PolicyMemory.model_validate(run.policy_memory)
    remembered = memory
    # A project's playbook is asked for where there is something to do by it: nearly every envelope has nothing.
    is_news = bool(case.findings or case.acknowledgements or case.envelope.incidents) or case.envelope.sequence == 1
    is_quiet = not is_news and memory == _NOTHING_YET
    playbook = Playbook.default() if is_quiet else playbook_of(bench.connection, run)
    memory = learn_from(memory, case.acknowledgements, playbook, case.now)
    if case.envelope.incidents and case.is_current:
        memory = adopt(memory, case.envelope.incidents, playbook, step=max(0, case.live.last_step))
    # What was wrong with an attempt that is already abandoned calls for nothing any more.
    findings = tuple(one for one in case.findings if one.attempt == case.attempt)
    # Only a trouble asks for a checkpoint or can be silenced, and nearly every envelope tells of none.
    in_trouble = bool(findings or memory.active())
    situation = Situation(
        run_id=run.run_id,
        mode=cast(Mode, run.mode),
        attempt=case.attempt,
        revision=case.revision,
        step=max(0, case.live.last_step),
        vitals=case.live.panel.vitals(),
        findings=findings,
        acknowledgements=case.acknowledgements,
        checkpoints=_known_checkpoints(case, bench) if in_trouble else (),
        silenced=in_trouble and bench.is_silenced(run.run_id, case.now),
        decided_by="server",
        # The spool of a process that failed must not end the incidents of the one that took its place.
        run_state=case.envelope.state if case.is_current else "running",
        command_ttl_seconds=bench.settings.command_ttl_seconds,
        # The diagnosis reads it, and only where something is wrong.
        description=run.described() if in_trouble else None,
    )
    judgement = Judgement.begin(memory)
    return replace(
        case,
        playbook=playbook,
        # A run's own playbook came from the trainer, and beats the project's there as here.
        is_playbook_told=is_news and run.description.get("playbook") is None,
        situation=situation,
        remembered=remembered,
        judgement=judgement,
    )


def _known_checkpoints(case: Case, bench: Bench) -> Sequence[CheckpointReport]:
    """Kept with the detectors, whose version says that no other process has recorded one since."""
    assert case.live is not None
    if case.live.checkpoints is None:
        case.live.checkpoints = reports.checkpoints_of(bench.connection, case.run.run_id)
    return case.live.checkpoints


def judged_by(policy_stage: PolicyStage) -> Stage:
    """A stage of the pipeline from a stage of policy."""

    def stage(case: Case, bench: Bench) -> Case:
        assert case.judgement is not None
        assert case.situation is not None
        assert case.playbook is not None
        judgement = policy_stage(case.judgement, case.situation, case.playbook, case.now)
        # Nearly always: nothing has happened, and a copy of the case is not free.
        return case if judgement is case.judgement else replace(case, judgement=judgement)

    stage.__name__ = policy_stage.__name__
    stage.__doc__ = policy_stage.__doc__
    return stage


def conclude(case: Case, bench: Bench) -> Case:
    """Store the incidents that changed and the decisions that were made."""
    assert case.judgement is not None
    if case.judgement.changed:
        bench.ledger.later(incidents.save, case.run.run_id, case.judgement.incidents, "server")
    if case.judgement.decisions:
        bench.ledger.later(incidents.add_decisions, case.run.run_id, case.judgement.decisions)
    return case
