"""After a passing cause what a remedy took is given back: in steps, each followed by a healthy stretch.

First the learning rate, then the limit for gradient norms: one thing at a time, so that a trouble that comes back says
what it was that the run did not bear.
"""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid5

from trainguard.policy.memory import PolicyMemory, RateDebt
from trainguard.policy.playbook import Playbook
from trainguard.policy.situation import Judgement, Situation
from trainguard.wire import (
    Acknowledgement,
    Command,
    DecisionReport,
    LoosenClipping,
    Order,
    ScaleLearningRate,
    Verdict,
)

ALL_BUT = 1.001
"""What is left to be given back when nothing is."""


def return_rate(judgement: Judgement, situation: Situation, playbook: Playbook, now: float) -> Judgement:
    """Raise the multiplier, or the limit, by one step where one is due: a command like every other, by the same road.

    Nothing is raised while anything is the matter. A trouble that is treated while a rate comes back says that it
    was the rate after all: what is still owed is written off, and no rate comes back again before the run's ladder
    is forgiven.
    """
    debt = judgement.memory.rate_debt
    if debt is None:
        return judgement
    if debt.command_id is None and debt.owed > ALL_BUT and _is_given_back(judgement.memory, debt):
        debt = debt.model_copy(update={"owed": 1.0})
        judgement = judgement.with_memory(_with(judgement.memory, _if_any(debt)))
        if debt.clip_norm is None:
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
    return _raise(judgement, debt, situation, playbook, now)


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


def _is_given_back(memory: PolicyMemory, debt: RateDebt) -> bool:
    """Whether the rate is the schedule's own again already, by another hand."""
    return memory.lr_scale is not None and memory.lr_scale * ALL_BUT >= 1.0


def _if_any(debt: RateDebt) -> RateDebt | None:
    return debt if debt.owed > ALL_BUT or debt.clip_norm is not None else None


def _next_rate(memory: PolicyMemory, debt: RateDebt) -> tuple[float, str]:
    owed = debt.owed if memory.lr_scale is None else min(debt.owed, 1.0 / memory.lr_scale)
    factor = owed if owed <= debt.step_factor * ALL_BUT else debt.step_factor
    rest = owed / factor
    whole = "which gives back the whole of it" if rest <= ALL_BUT else f"with × {rest:.3g} still to come"
    return factor, f"Multiply the learning rate by {factor:.3g}, {whole}, because it was lowered"


def _next_limit(debt: RateDebt, playbook: Playbook) -> tuple[float | None, str]:
    assert debt.clip_norm is not None
    raised = debt.clip_norm * debt.step_factor
    before = debt.clip_norm_before
    if before is not None and raised * ALL_BUT >= before:
        return before, f"Hold gradient norms at or below {before:.4g} again, as before, because they were held tighter"
    if before is None and debt.clip_raises >= playbook.rate_return.limit_raises:
        return None, "Hold gradient norms no more, because they were held"
    limit = float(f"{raised:.4g}")
    return (
        limit,
        f"Hold gradient norms at or below {limit:.4g} and no longer {debt.clip_norm:.4g}, because they were held",
    )


def _raise(judgement: Judgement, debt: RateDebt, situation: Situation, playbook: Playbook, now: float) -> Judgement:
    place = f"{situation.attempt}:{situation.revision}:{debt.raises}:{debt.refusals}"
    name = f"command:{situation.decided_by}:{debt.incident_id}:{place}:rate-return"
    command_id = uuid5(situation.run_id, name)
    order: Order
    factor = 1.0
    if debt.owed > ALL_BUT:
        factor, words = _next_rate(judgement.memory, debt)
        order = ScaleLearningRate(factor=factor)
    else:
        limit, words = _next_limit(debt, playbook)
        order = LoosenClipping(max_norm=limit)
    reason = f"{words} for a cause that has passed and the run is healthy at step {situation.step}."
    decision = _decision(debt, situation, now, "act", reason, (order,))
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
    changes: dict[str, object] = {
        "due_step": answer.next_step + debt.every_steps,
        "raises": debt.raises + 1,
        "refusals": 0,
        "command_id": None,
    }
    told: dict[str, object] = {"updated_at": now}
    incident = next((one for one in judgement.memory.incidents if one.incident_id == debt.incident_id), None)
    if debt.owed > ALL_BUT:
        owed = max(1.0, debt.owed / debt.command_factor)
        changes["owed"] = owed
        # Exactly 1 where the whole is given back: 0.5 · 2 is, 0.05 · 2 · 2 · 2 · 2 · 1.25 need not be.
        told["rate_factor"] = 1.0 if owed <= ALL_BUT or incident is None else incident.rate_factor * debt.command_factor
    else:
        limit = answer.changes.get("clip_norm")
        is_held = isinstance(limit, int | float) and limit != debt.clip_norm_before
        changes |= {"clip_norm": limit if is_held else None, "clip_raises": debt.clip_raises + 1}
        told["clip_norm"] = changes["clip_norm"]
    judgement = judgement.with_memory(_with(judgement.memory, _if_any(debt.model_copy(update=changes))))
    if incident is None:
        return judgement
    return judgement.with_incident(incident.model_copy(update=told))


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
    of_rate = debt.owed > ALL_BUT
    reason = (
        f"Nothing, because {'raising the rate again' if of_rate else 'loosening the limit for gradient norms'} was "
        f"tried {refusals} times in vain, the last time because {why} It stays as it is; a person may "
        f"{'raise' if of_rate else 'lift'} it."
    )
    decision = _decision(debt, situation, now, "nothing", reason, ())
    # The limit may be lifted all the same where it was the rate's turn: an order of its own.
    left = debt.model_copy(update={"owed": 1.0, "refusals": 0, "due_step": step + debt.every_steps, "command_id": None})
    judgement = judgement.with_memory(_with(judgement.memory, _if_any(left) if of_rate else None))
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
    orders: tuple[Order, ...],
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
