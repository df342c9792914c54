"""What others did to the run: a person, or the other brain while this one was away. It counts as tried."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID

from trainguard.policy.cause import cause_of
from trainguard.policy.incident import Incident, family_of
from trainguard.policy.memory import PolicyMemory, RateDebt
from trainguard.policy.playbook import Playbook
from trainguard.wire import Acknowledgement, IncidentReport

INSTABILITY = family_of("divergence")


def learn_from(
    memory: PolicyMemory, answers: Iterable[Acknowledgement], playbook: Playbook, now: float
) -> PolicyMemory:
    """What the trainer applied that was not decided here: the next rung is the one after it.

    A trouble that is open meanwhile goes on probation, as after a remedy of one's own: whoever rolled the run back,
    what must be shown is that it is past the place where it failed, with its loss in its band.
    """
    for answer in answers:
        if answer.status != "applied" or answer.revision <= memory.learned_revision:
            continue
        memory = memory.model_copy(
            update={"learned_revision": answer.revision, "lr_scale": _multiplier(answer, memory.lr_scale)}
        )
        if answer.action != "rollback" or _is_own(memory, answer.command_id):
            continue
        open_one = next((one for one in memory.active() if one.family == INSTABILITY and one.state == "open"), None)
        onset = open_one.onset_step if open_one else None
        memory = memory.climbed(INSTABILITY, answer.step, onset_step=onset, resumed_step=answer.next_step)
        memory = memory.having_tried(f"At step {answer.step}, by another hand: {answer.reason}")
        memory = memory.model_copy(update={"rollbacks": memory.rollbacks + 1})
        if open_one is not None and open_one.attempt < answer.attempt:
            memory = memory.with_incident(_on_probation(open_one, answer, playbook, now))
    return memory


def adopt(memory: PolicyMemory, reports: Sequence[IncidentReport], playbook: Playbook, *, step: int) -> PolicyMemory:
    """Take over the incidents that the other brain tells of: from here on they are followed where this memory lives.

    One whose command is still on its way stays with whoever sent it, and so does one of a family in which this
    memory follows a trouble of its own; neither is lost, since the other brain follows it to its end. Of one that is
    known here already, the other's remedies are taken over where they are not known.
    """
    latest = {report.incident_id: report for report in reports}
    for report in latest.values():
        known = next((one for one in memory.incidents if one.incident_id == report.incident_id), None)
        if known is not None and (known.attempt, known.rung) >= (report.attempt, report.rung):
            memory = memory.with_incident(known.completed_by(report)) if known.state == "watching" else memory
            continue
        if report.state == "resolved":
            memory = _with_debt(memory, report, playbook, step)
            continue
        if report.state not in ("open", "watching"):
            continue
        family = family_of(report.kind)
        rivals = [one for one in memory.active() if one.family == family and one.incident_id != report.incident_id]
        if not rivals:
            memory = memory.with_incident(_taken_over(report, family, playbook))
    return memory


def with_rate_debt(
    memory: PolicyMemory, incident: IncidentReport, playbook: Playbook, *, due_step: int
) -> PolicyMemory:
    """The memory with what is to be given back of ``incident``'s cut; unchanged where its rate is to stay."""
    back, former = playbook.rate_return, memory.rate_debt
    if not back.is_wanted or incident.cause != "passing" or memory.rate_returned_in_vain:
        return memory
    owed = (former.owed if former else 1.0) / min(incident.rate_factor, 1.0)
    # What was given back by another hand meanwhile is not given back twice.
    owed = max(1.0, min(owed, 1.0 / memory.lr_scale)) if memory.lr_scale is not None else owed
    limit, limit_before = incident.clip_norm, incident.clip_norm_before
    if former is not None and former.clip_norm is not None:
        limit, limit_before = limit or former.clip_norm, former.clip_norm_before
    if owed <= 1.0 and limit is None:
        return memory
    debt = RateDebt(
        incident_id=incident.incident_id,
        owed=owed,
        clip_norm=limit,
        clip_norm_before=limit_before,
        due_step=due_step,
        step_factor=back.step_factor,
        every_steps=back.every_steps,
    )
    return memory.model_copy(update={"rate_debt": debt})


def given_up(memory: PolicyMemory, adopted: Iterable[UUID]) -> PolicyMemory:
    """The memory without the incidents that the other brain has adopted, and without what it owes for them."""
    gone = set(adopted)
    kept = tuple(one for one in memory.incidents if one.incident_id not in gone)
    if len(kept) == len(memory.incidents):
        return memory
    debt = memory.rate_debt if memory.rate_debt and memory.rate_debt.incident_id not in gone else None
    return memory.model_copy(update={"incidents": kept, "rate_debt": debt})


def _with_debt(memory: PolicyMemory, report: IncidentReport, playbook: Playbook, step: int) -> PolicyMemory:
    closed = _taken_over(report, family_of(report.kind), playbook)
    return with_rate_debt(memory.with_incident(closed), report, playbook, due_step=step)


def _taken_over(report: IncidentReport, family: str, playbook: Playbook) -> Incident:
    failed = report.failed_step if report.failed_step is not None else report.detected_step
    watch_until = report.watch_until_step
    if report.state == "watching" and watch_until is None:
        watch_until = failed + playbook.probation_steps
    told = report.model_dump(exclude={"failed_step", "watch_until_step"})
    return Incident(
        **told,
        family=family,
        last_finding_step=failed,
        failed_step=failed,
        watch_until_step=watch_until,
        loss_before=report.evidence.get("loss_before"),
        loss_band=report.evidence.get("loss_band"),
    )


def _on_probation(incident: Incident, answer: Acknowledgement, playbook: Playbook, now: float) -> Incident:
    failed = max(incident.failed_step, answer.step)
    lost = max(0, answer.step + 1 - answer.next_step)
    return incident.model_copy(
        update={
            "state": "watching",
            "attempt": answer.attempt,
            "updated_at": now,
            "decided": "",
            "wait_until_step": None,
            "proposal_expires_at": None,
            "failed_step": failed,
            "restored_step": answer.next_step,
            "watch_until_step": failed + playbook.probation_steps,
            "steps_lost": incident.steps_lost + lost,
            "rung": incident.rung + 1,
            **incident.treated_by(answer),
            # As at a decision of one's own: what the onset shows, before the remedy changes the rate.
            "cause": cause_of(incident) if not incident.rung and not incident.relapses else incident.cause,
            "outcome": f"{answer.reason} By another hand; on probation until step {failed + playbook.probation_steps}.",
        }
    )


def _multiplier(answer: Acknowledgement, former: float | None) -> float | None:
    told = answer.changes.get("lr_scale")
    return float(told) if isinstance(told, int | float) and told > 0 else former


def _is_own(memory: PolicyMemory, command_id: UUID) -> bool:
    return any(incident.command_id == command_id for incident in memory.incidents)
