"""The life of incidents: acknowledgements arrive, troubles heal, probation ends.

open → recovering (a command is on its way) → watching (probation) → resolved; or back to open for the next
rung; or escalated, when only a person can help.
"""

from __future__ import annotations

from trainguard.detectors.vitals import Vitals
from trainguard.policy.cause import cause_of
from trainguard.policy.incident import Incident
from trainguard.policy.others import with_rate_debt
from trainguard.policy.playbook import Playbook
from trainguard.policy.situation import Event, Judgement, Notice, Situation
from trainguard.wire import Acknowledgement

QUIET_STEPS = 1_000
"""Steps without a further sign after which a trouble that is only told counts as over."""
GIVE_UP_AFTER = 4
"""Probation lengths beyond the failed place after which a loss outside its band counts as not recovered."""


def follow(judgement: Judgement, situation: Situation, playbook: Playbook, now: float) -> Judgement:
    """Move every active incident along its life, by what the trainer answered and what the run shows."""
    answers = {one.command_id: one for one in situation.acknowledgements}
    for incident in judgement.memory.active():
        answer = answers.get(incident.command_id) if incident.command_id else None
        if incident.state == "recovering" and answer is not None:
            judgement = _answered(judgement, incident, answer, situation, playbook, now)
        elif situation.run_state != "running":
            judgement = _ended(judgement, incident, situation, now)
        elif incident.state == "recovering" and (incident.command_expires_at or now) < now:
            judgement = _fruitless(judgement, incident, "its command expired unanswered", playbook, now)
        elif incident.state == "watching":
            judgement = _probation(judgement, incident, situation, playbook, now)
        elif incident.state == "open":
            judgement = _healing(judgement, incident, situation, playbook, now)
    if not judgement.memory.active():
        forgiven = judgement.memory.forgiven(situation.step, playbook.budget.forgive_after_steps)
        judgement = judgement.with_memory(forgiven)
    return judgement


def _answered(
    judgement: Judgement,
    incident: Incident,
    answer: Acknowledgement,
    situation: Situation,
    playbook: Playbook,
    now: float,
) -> Judgement:
    if answer.status == "refused":
        return _fruitless(judgement, incident, f"the trainer refused: {answer.reason}", playbook, now)
    if answer.status == "failed":
        sentence = f"The remedy failed in the trainer: {answer.reason} A person must look."
        return _escalate(judgement, incident, sentence, now)
    if answer.action == "halt":
        return _escalate(judgement, incident, f"The training was halted: {answer.reason}", now)
    lost = max(0, answer.step + 1 - answer.next_step)
    failed_step = max(incident.failed_step, answer.step)
    rolled_back = answer.action == "rollback"
    before = incident.seconds_lost
    if rolled_back:
        incident = _losing_time(incident, answer, situation)
    memory = judgement.memory
    if not incident.is_retry:
        memory = memory.climbed(
            incident.family, failed_step, onset_step=incident.onset_step, resumed_step=answer.next_step
        )
    if incident.remedied and incident.remedied not in memory.remedied:
        memory = memory.model_copy(update={"remedied": (*memory.remedied, incident.remedied)})
    memory = memory.having_tried(f"At step {answer.step}: {answer.reason}").model_copy(
        update={
            "rollbacks": memory.rollbacks + int(rolled_back),
            "steps_lost": memory.steps_lost + lost,
            "seconds_lost": memory.seconds_lost + max(0.0, incident.seconds_lost - before),
        }
    )
    watching = incident.model_copy(
        update={
            "state": "watching",
            "attempt": answer.attempt,
            "updated_at": now,
            "command_id": None,
            "command_expires_at": None,
            "fruitless": 0,
            "decided": "",
            "wait_until_step": None,
            "failed_step": failed_step,
            "restored_step": answer.next_step if rolled_back else incident.restored_step,
            "watch_until_step": failed_step + playbook.probation_steps,
            "steps_lost": incident.steps_lost + lost,
            "rung": incident.rung + int(not incident.is_retry),
            "retries": incident.retries + int(incident.is_retry),
            "is_retry": False,
            "passes_over_data": answer.changes.get("batches_skipped", 1) != 0,
            **incident.treated_by(answer),
            # Of an order of one's own the factor is known.
            "rate_factor": incident.rate_factor * incident.command_factor,
            "command_factor": 1.0,
            "outcome": f"{answer.reason} On probation until step {failed_step + playbook.probation_steps}.",
        }
    )
    notice = Notice(incident.incident_id, "recovering", answer.reason)
    return judgement.with_memory(memory).with_incident(watching, notice)


def _losing_time(incident: Incident, answer: Acknowledgement, situation: Situation) -> Incident:
    """What was trained since the checkpoint that the run went back to, by the trainer's own clock."""
    restored = answer.changes.get("checkpoint_id")
    saved_at = next((one.saved_at for one in situation.checkpoints if str(one.checkpoint_id) == restored), None)
    return incident if saved_at is None else incident.losing(saved_at, answer.handled_at)


def _fruitless(judgement: Judgement, incident: Incident, why: str, playbook: Playbook, now: float) -> Judgement:
    count = incident.fruitless + 1
    if count >= playbook.budget.attempts_per_rung:
        sentence = f"Tried {count} times in vain, the last time because {why}. A person must look."
        return _escalate(judgement, incident, sentence, now)
    reopened = incident.model_copy(
        update={
            "state": "open",
            "updated_at": now,
            "command_id": None,
            "command_expires_at": None,
            "fruitless": count,
            "decided": "",
            "outcome": f"Deciding again: {why}.",
        }
    )
    return judgement.with_incident(reopened)


def _escalate(judgement: Judgement, incident: Incident, sentence: str, now: float) -> Judgement:
    escalated = incident.model_copy(
        update={
            "state": "escalated",
            "updated_at": now,
            "closed_at": now,
            "command_id": None,
            "outcome": sentence,
        }
    )
    return judgement.with_incident(escalated, Notice(incident.incident_id, "escalated", sentence))


def _resolve(judgement: Judgement, incident: Incident, sentence: str, now: float) -> Judgement:
    resolved = incident.model_copy(
        update={"state": "resolved", "updated_at": now, "closed_at": now, "outcome": sentence}
    )
    event: Event = "recovered" if incident.rung else "resolved"
    return judgement.with_incident(resolved, Notice(incident.incident_id, event, sentence))


def _probation(
    judgement: Judgement, incident: Incident, situation: Situation, playbook: Playbook, now: float
) -> Judgement:
    vitals = situation.vitals
    if vitals is None or vitals.attempt < incident.attempt or incident.watch_until_step is None:
        return judgement
    watch_until = incident.watch_until_step
    healthy = _is_healthy(incident, vitals)
    if healthy and vitals.step >= watch_until:
        incident = incident.model_copy(update={"cause": cause_of(incident)})
        sentence = (
            f"Recovered: at step {vitals.step}, {vitals.step - incident.failed_step} steps beyond where it failed, "
            f"the loss is {vitals.loss_level:.4g}{_band(incident)}. {_cost(incident)}"
        )
        memory = with_rate_debt(judgement.memory, incident, playbook, due_step=vitals.step)
        sentence += _what_of_the_rate(incident, memory is not judgement.memory and situation.mode == "act")
        if situation.mode == "act":
            judgement = judgement.with_memory(memory)
        return _resolve(judgement, incident, sentence, now)
    overdue = watch_until + GIVE_UP_AFTER * playbook.probation_steps
    if not healthy and vitals.step >= overdue:
        sentence = f"The loss has not come back to its former band by step {vitals.step}{_band(incident)}"
        reopened = incident.model_copy(
            update={
                "state": "open",
                "severity": "critical",
                "updated_at": now,
                "decided": "",
                "relapses": incident.relapses + 1,
                "failed_step": max(incident.failed_step, vitals.step),
                "outcome": sentence + ".",
            }
        )
        return judgement.with_incident(reopened)
    return judgement


def _healing(
    judgement: Judgement, incident: Incident, situation: Situation, playbook: Playbook, now: float
) -> Judgement:
    vitals = situation.vitals
    if vitals is None or vitals.attempt < incident.attempt:
        return judgement
    if incident.family not in ("instability", "plateau"):
        quiet = vitals.step - incident.last_finding_step
        if quiet >= QUIET_STEPS:
            return _resolve(judgement, incident, f"There was no further sign of it for {quiet} steps.", now)
        return judgement
    if incident.family == "plateau":
        # It ends when the loss falls clearly below where it lay.
        level, before = vitals.loss_level, incident.loss_before
        if level is not None and before is not None and level < before - 3 * (incident.loss_band or 0.0):
            return _resolve(judgement, incident, f"It ended by itself: the loss is {level:.4g}{_band(incident)}.", now)
        return judgement
    quiet_steps = vitals.step - incident.last_finding_step
    if quiet_steps >= playbook.healed_after_steps and _is_healthy(incident, vitals):
        if incident.watch_until_step is not None and vitals.step < incident.watch_until_step:
            # A renewed warning during probation has healed; the probation itself goes on.
            back = incident.model_copy(update={"state": "watching", "updated_at": now, "decided": ""})
            return judgement.with_incident(back)
        sentence = (
            f"Healed by itself: {quiet_steps} steps after the last sign of it the loss is "
            f"{vitals.loss_level:.4g}{_band(incident)}."
        )
        return _resolve(judgement, incident, sentence, now)
    return judgement


def _ended(judgement: Judgement, incident: Incident, situation: Situation, now: float) -> Judgement:
    vitals = situation.vitals
    if incident.family != "instability":
        return _resolve(judgement, incident, f"The run {situation.run_state} on it.", now)
    if situation.run_state == "finished" and vitals is not None and _is_healthy(incident, vitals):
        sentence = (
            f"The run finished at step {vitals.step} with its loss back at {vitals.loss_level:.4g}"
            f"{_band(incident)}. {_cost(incident)}"
        )
        return _resolve(judgement, incident, sentence, now)
    sentence = f"The run {situation.run_state} before this was resolved. {incident.outcome}"
    return _escalate(judgement, incident, sentence, now)


def _is_healthy(incident: Incident, vitals: Vitals) -> bool:
    calm = not vitals.nonfinite_streak and not vitals.params_nonfinite
    return vitals.attempt >= incident.attempt and calm and incident.loss_is_back(vitals.loss_level)


def _cost(incident: Incident) -> str:
    seconds = f" and {incident.seconds_lost:.3g} s" if incident.seconds_lost else ""
    return f"{incident.steps_lost} steps{seconds} were lost."


def _what_of_the_rate(incident: Incident, comes_back: bool) -> str:
    is_cut, is_held = incident.rate_factor < 1, incident.clip_norm is not None
    if not (is_cut or is_held):
        return ""
    if comes_back:
        what = "the learning rate comes back in steps" if is_cut else ""
        if is_held:
            what += f"{' and then ' if is_cut else ''}the limit for gradient norms goes"
        return f" The cause has passed, so {what}."
    words = {"rate": "it was the cause", "unknown": "it may have been the cause"}
    why = words.get(incident.cause, "nothing raises it by itself here")
    said = f" The learning rate stays multiplied by {incident.rate_factor:.4g}: {why}." if is_cut else ""
    return said + (f" Gradient norms stay held at or below {incident.clip_norm:.4g}." if is_held else "")


def _band(incident: Incident) -> str:
    if incident.loss_before is None or incident.loss_before != incident.loss_before:
        return ""
    return f" (before the trouble: {incident.loss_before:.4g})"
