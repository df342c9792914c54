"""The decision: a rung with its reason; and a reason also when it is "nothing, because …"."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid5

from trainguard.policy.incident import Incident
from trainguard.policy.playbook import Playbook, Rung
from trainguard.policy.remedy import compose
from trainguard.policy.situation import Judgement, Notice, Situation
from trainguard.wire import Command, DecisionReport, Order, Verdict


def decide(judgement: Judgement, situation: Situation, playbook: Playbook, now: float) -> Judgement:
    """Decide on every open incident that is not quiet; the same situation is decided once, not every step."""
    for incident in judgement.memory.active():
        if incident.incident_id in judgement.quiet:
            continue
        judgement = _decide_one(judgement, incident, situation, playbook, now)
    return judgement


def _decide_one(
    judgement: Judgement, incident: Incident, situation: Situation, playbook: Playbook, now: float
) -> Judgement:
    ladder = playbook.ladder(incident.kind)
    if ladder.treatment == "advise":
        reason = f"Nothing, because no automatic remedy is safe for {_words(incident.kind)}. {ladder.advice}".strip()
        return _record(judgement, incident, situation, now, "nothing", reason)
    if situation.mode == "observe":
        reason = "Nothing, because this run is only observed (mode observe)."
        return _record(judgement, incident, situation, now, "nothing", reason)
    patience = incident.wait_until_step if incident.wait_until_step is not None else situation.step
    may_heal = incident.severity != "critical" and situation.step < patience
    if may_heal:
        reason = (
            f"Wait until step {patience}: a {_words(incident.kind)} often heals by itself, "
            "and a remedy costs more than it does."
        )
        return _record(judgement, incident, situation, now, "wait", reason)
    return _climb(judgement, incident, situation, playbook, now)


def _climb(judgement: Judgement, incident: Incident, situation: Situation, playbook: Playbook, now: float) -> Judgement:
    ladder = playbook.ladder(incident.kind)
    index = judgement.memory.rung(incident.family)
    rung, exhausted = _rung(ladder.rungs, index)
    if rung is None:
        tried = f"all {len(ladder.rungs)} remedies of playbook {playbook.name!r} were tried"
        reason = f"Nothing more: {tried}. A person must look."
        return _escalated(judgement, incident, situation, now, reason)
    if not rung.halt and judgement.memory.rollbacks >= playbook.budget.rollbacks:
        spent = f"the budget of {playbook.budget.rollbacks} rollbacks is spent"
        halting = next((one for one in ladder.rungs if one.halt), None)
        if halting is None:
            return _escalated(judgement, incident, situation, now, f"Nothing more: {spent}. A person must look.")
        rung, exhausted = halting, spent
    remedy = compose(rung, incident, situation.checkpoints, index)
    if not remedy.orders:
        reason = f"Nothing, because {remedy.sentence}. A person must look."
        return _escalated(judgement, incident, situation, now, reason)
    cause = incident.summary.rstrip(".") or f"a {_words(incident.kind)} began at step {incident.onset_step}"
    place = f"remedy {index + 1} of {len(ladder.rungs)}"
    if exhausted:
        place = exhausted
    sentence = f"{remedy.sentence[0].upper()}{remedy.sentence[1:]}, because {_lowered(cause)} ({place})."
    if situation.mode == "advise":
        reason = f"Would do in mode act: {_lowered(sentence)}"
        return _record(judgement, incident, situation, now, "propose", reason, remedy.orders)
    return _command(judgement, incident, situation, now, sentence, remedy.orders, index)


def _rung(rungs: tuple[Rung, ...], index: int) -> tuple[Rung | None, str]:
    if index < len(rungs):
        return rungs[index], "every milder remedy was tried" if rungs[index].halt else ""
    if rungs and rungs[-1].halt:
        return rungs[-1], "every remedy was tried"
    return None, ""


def _command(
    judgement: Judgement,
    incident: Incident,
    situation: Situation,
    now: float,
    sentence: str,
    orders: tuple[Order, ...],
    index: int,
) -> Judgement:
    halts = orders[0].action == "halt"
    expires_at = now + situation.command_ttl_seconds
    # The fence is part of the name: two processes that judge the same moment make the same command.
    name = f"{incident.incident_id}:{situation.attempt}:{situation.revision}:{index}:{incident.fruitless}"
    command_id = uuid5(situation.run_id, f"command:{situation.decided_by}:{name}")
    decision = _decision(incident, situation, now, "halt" if halts else "act", sentence, orders, index)
    decision = decision.model_copy(update={"command_id": command_id})
    command = Command(
        command_id=command_id,
        incident_id=incident.incident_id,
        decision_id=decision.decision_id,
        attempt=situation.attempt,
        revision=situation.revision,
        orders=orders,
        issued_at=now,
        expires_at=expires_at,
        reason=sentence,
    )
    recovering = incident.model_copy(
        update={
            "state": "recovering",
            "updated_at": now,
            "command_id": command_id,
            "command_expires_at": expires_at,
            "decided": "",
            "outcome": sentence,
        }
    )
    judgement = judgement.with_incident(recovering)
    return replace(
        judgement,
        decisions=(*judgement.decisions, decision),
        commands=(*judgement.commands, command),
    )


def _record(
    judgement: Judgement,
    incident: Incident,
    situation: Situation,
    now: float,
    verdict: Verdict,
    reason: str,
    orders: tuple[Order, ...] = (),
) -> Judgement:
    mark = f"{verdict}:{incident.kind}:{incident.severity}:{incident.attempt}:{incident.relapses}"
    if incident.decided == mark:
        return judgement
    decision = _decision(incident, situation, now, verdict, reason, orders, incident.rung)
    decided = incident.model_copy(update={"decided": mark, "updated_at": now, "outcome": reason})
    notices = (
        (Notice(incident.incident_id, "needs_approval", reason),)
        if verdict == "propose" and not situation.silenced
        else ()
    )
    judgement = judgement.with_incident(decided, *notices)
    return replace(judgement, decisions=(*judgement.decisions, decision))


def _escalated(judgement: Judgement, incident: Incident, situation: Situation, now: float, reason: str) -> Judgement:
    decision = _decision(incident, situation, now, "nothing", reason, (), incident.rung)
    escalated = incident.model_copy(
        update={"state": "escalated", "updated_at": now, "closed_at": now, "outcome": reason}
    )
    judgement = judgement.with_incident(escalated, Notice(incident.incident_id, "escalated", reason))
    return replace(judgement, decisions=(*judgement.decisions, decision))


def _decision(
    incident: Incident,
    situation: Situation,
    now: float,
    verdict: Verdict,
    reason: str,
    orders: tuple[Order, ...],
    index: int,
) -> DecisionReport:
    place = f"{situation.attempt}:{situation.step}:{index}:{incident.fruitless}"
    name = f"{incident.incident_id}:{place}:{verdict}:{reason}"
    return DecisionReport(
        decision_id=uuid5(situation.run_id, f"decision:{situation.decided_by}:{name}"),
        incident_id=incident.incident_id,
        decided_at=now,
        decided_by=situation.decided_by,
        attempt=situation.attempt,
        step=situation.step,
        verdict=verdict,
        rung=index,
        orders=orders,
        reason=reason,
    )


def _words(kind: str) -> str:
    return kind.replace("_", " ").replace("non finite", "non-finite value").replace("grad ", "gradient ")


def _lowered(sentence: str) -> str:
    first, rest = sentence[:1], sentence[1:]
    return first.lower() + rest if rest[:1].islower() or rest[:1] == " " else sentence
