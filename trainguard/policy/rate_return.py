"""After a passing cause the lowered rate comes back: in steps, each followed by a healthy stretch."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid5

from trainguard.policy.memory import PolicyMemory, RateDebt
from trainguard.policy.playbook import Playbook
from trainguard.policy.situation import Judgement, Situation
from trainguard.wire import Acknowledgement, Command, DecisionReport, ScaleLearningRate, Verdict

ALL_BUT = 1.001
"""What is left to be given back when nothing is."""


def return_rate(judgement: Judgement, situation: Situation, playbook: Playbook, now: float) -> Judgement:
    """Raise the multiplier by one step where one is due: a command like every other, by the same road.

    Nothing is raised while anything is the matter. A trouble that is treated while a rate comes back says that it
    was the rate after all: what is still owed is written off, and no rate comes back again before the run's ladder
    is forgiven.
    """
    debt = judgement.memory.rate_debt
    if debt is None:
        return judgement
    answer = next((one for one in situation.acknowledgements if one.command_id == debt.command_id), None)
    if debt.command_id is not None and answer is not None:
        return _answered(judgement, debt, answer, situation, playbook, now)
    active = [one for one in judgement.memory.active() if one.family == "instability"]
    if any(one.state in ("recovering", "watching") for one in active):
        return judgement.with_memory(
            _with(judgement.memory, None, in_vain=judgement.memory.rate_returned_in_vain or debt.raises > 0)
        )
    if debt.command_id is not None:
        if (debt.command_expires_at or now) >= now:
            return judgement
        return _put_off(judgement, debt, situation.step, "its command expired unanswered", situation, playbook, now)
    if active or not _is_time(debt, situation):
        return judgement
    return _raise(judgement, debt, situation, now)


def _is_time(debt: RateDebt, situation: Situation) -> bool:
    vitals = situation.vitals
    if situation.mode != "act" or situation.run_state != "running" or vitals is None:
        return False
    if vitals.attempt < situation.attempt or vitals.step < debt.due_step or vitals.nonfinite_streak:
        return False
    level, center = vitals.loss_level, vitals.loss_center
    if level is None or center is None:
        return False
    return level <= center + max(4.0 * (vitals.loss_band or 0.0), 0.05 * abs(center))


def _raise(judgement: Judgement, debt: RateDebt, situation: Situation, now: float) -> Judgement:
    factor = debt.owed if debt.owed <= debt.step_factor * ALL_BUT else debt.step_factor
    place = f"{situation.attempt}:{situation.revision}:{debt.raises}:{debt.refusals}"
    name = f"command:{situation.decided_by}:{debt.incident_id}:{place}:rate-return"
    command_id = uuid5(situation.run_id, name)
    rest = debt.owed / factor
    whole = "which gives back the whole of it" if rest <= ALL_BUT else f"with × {rest:.3g} still to come"
    reason = (
        f"Multiply the learning rate by {factor:.3g}, {whole}, because it was lowered for a cause that has passed "
        f"and the run is healthy at step {situation.step}."
    )
    decision = _decision(debt, situation, now, "act", reason, (ScaleLearningRate(factor=factor),))
    decision = decision.model_copy(update={"command_id": command_id})
    command = Command(
        command_id=command_id,
        incident_id=debt.incident_id,
        decision_id=decision.decision_id,
        attempt=situation.attempt,
        revision=situation.revision,
        orders=decision.orders,
        issued_at=now,
        expires_at=now + situation.command_ttl_seconds,
        reason=reason,
    )
    going = debt.model_copy(
        update={"command_id": command_id, "command_factor": factor, "command_expires_at": command.expires_at}
    )
    judgement = judgement.with_memory(_with(judgement.memory, going))
    return replace(judgement, decisions=(*judgement.decisions, decision), commands=(*judgement.commands, command))


def _answered(
    judgement: Judgement,
    debt: RateDebt,
    answer: Acknowledgement,
    situation: Situation,
    playbook: Playbook,
    now: float,
) -> Judgement:
    if answer.status != "applied":
        return _put_off(judgement, debt, answer.step, answer.reason, situation, playbook, now)
    owed = debt.owed / debt.command_factor
    left = None
    if owed > ALL_BUT:
        due = answer.next_step + debt.every_steps
        left = debt.model_copy(
            update={"owed": owed, "due_step": due, "raises": debt.raises + 1, "refusals": 0, "command_id": None}
        )
    judgement = judgement.with_memory(_with(judgement.memory, left))
    incident = next((one for one in judgement.memory.incidents if one.incident_id == debt.incident_id), None)
    if incident is None:
        return judgement
    # Exactly 1 where the whole is given back: 0.5 · 2 is, 0.05 · 2 · 2 · 2 · 2 · 1.25 need not be.
    factor = 1.0 if left is None else incident.rate_factor * debt.command_factor
    return judgement.with_incident(incident.model_copy(update={"rate_factor": factor, "updated_at": now}))


def _put_off(
    judgement: Judgement,
    debt: RateDebt,
    step: int,
    why: str,
    situation: Situation,
    playbook: Playbook,
    now: float,
) -> Judgement:
    refusals = debt.refusals + 1
    if refusals < playbook.budget.attempts_per_rung:
        later = {"refusals": refusals, "due_step": step + debt.every_steps, "command_id": None}
        return judgement.with_memory(_with(judgement.memory, debt.model_copy(update=later)))
    reason = (
        f"Nothing, because raising the rate again was tried {refusals} times in vain, the last time because {why} "
        "It stays as it is; a person may raise it."
    )
    decision = _decision(debt, situation, now, "nothing", reason, ())
    judgement = judgement.with_memory(_with(judgement.memory, None))
    return replace(judgement, decisions=(*judgement.decisions, decision))


def _with(memory: PolicyMemory, debt: RateDebt | None, *, in_vain: bool | None = None) -> PolicyMemory:
    changes: dict[str, object] = {"rate_debt": debt}
    if in_vain is not None:
        changes["rate_returned_in_vain"] = in_vain
    return memory.model_copy(update=changes)


def _decision(
    debt: RateDebt,
    situation: Situation,
    now: float,
    verdict: Verdict,
    reason: str,
    orders: tuple[ScaleLearningRate, ...],
) -> DecisionReport:
    name = f"{debt.incident_id}:{situation.attempt}:{situation.step}:{debt.raises}:{debt.refusals}:{verdict}:return"
    return DecisionReport(
        decision_id=uuid5(situation.run_id, f"decision:{situation.decided_by}:{name}"),
        incident_id=debt.incident_id,
        decided_at=now,
        decided_by=situation.decided_by,
        attempt=situation.attempt,
        step=situation.step,
        verdict=verdict,
        orders=orders,
        reason=reason,
    )
