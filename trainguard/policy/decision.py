"""The decision: a rung with its reason; and a reason also when it is "nothing, because …"."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid5

from trainguard.policy.bad_data import is_of_the_data, retry
from trainguard.policy.cause import cause_of
from trainguard.policy.halting import halt_report
from trainguard.policy.incident import Incident
from trainguard.policy.playbook import Ladder, Playbook, Rung
from trainguard.policy.remedy import Remedy, compose
from trainguard.policy.situation import Judgement, Notice, Situation
from trainguard.wire import Command, DecisionReport, Halt, Order, Rollback, Verdict


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
        return _record(judgement, incident, situation, playbook, now, "nothing", reason)
    if situation.mode == "observe":
        reason = "Nothing, because this run is only observed (mode observe)."
        return _record(judgement, incident, situation, playbook, now, "nothing", reason)
    if incident.kind in _OF_THE_LOSS and _is_adversarial(situation):
        reason = (
            "Nothing, because this run has several optimizers of one kind: where models train against each other the "
            "loss of one side rises as the other learns, and that is no fault. What is not finite, and gradients that "
            "explode, are treated."
        )
        return _record(judgement, incident, situation, playbook, now, "nothing", reason)
    patience = incident.wait_until_step if incident.wait_until_step is not None else situation.step
    may_heal = incident.severity != "critical" and situation.step < patience
    first_seen = _first_seen(judgement, incident, ladder) if may_heal else None
    if may_heal and first_seen is None and not _is_stuck(ladder, situation):
        reason = (
            f"Wait until step {patience}: a {_words(incident.kind)} often heals by itself, "
            "and a remedy costs more than it does."
        )
        return _record(judgement, incident, situation, playbook, now, "wait", reason)
    return _climb(judgement, incident, situation, playbook, now, first_seen)


def _is_stuck(ladder: Ladder, situation: Situation) -> bool:
    """Whether one step after the other is not finite: nothing heals, and every batch is lost."""
    vitals, most = situation.vitals, ladder.nonfinite_in_a_row
    if most is None or vitals is None or vitals.attempt < situation.attempt:
        return False
    return vitals.nonfinite_streak >= most


def _first_seen(judgement: Judgement, incident: Incident, ladder: Ladder) -> int | None:
    """The onset of the first trouble of the same cause shortly before, where that cause has a remedy of its own."""
    within, causes = ladder.heals_once_within, set(_plain_causes(incident)) & set(ladder.by_cause)
    if within is None or not causes - set(judgement.memory.remedied):
        return None
    return min(
        (
            one.onset_step
            for one in judgement.memory.incidents
            if one.family == incident.family
            and one.state == "resolved"
            and causes & set(_plain_causes(one))
            and 0 < incident.onset_step - one.onset_step <= within
        ),
        default=None,
    )


def _own_remedy(judgement: Judgement, incident: Incident, ladder: Ladder) -> tuple[str, Incident]:
    """The first plain cause that has a remedy of its own which was not applied yet, and the incident that shows it.

    What healed by itself in the stretch of this trouble is a part of it: parameters that swelled in one explosion did
    not swell by the rate.
    """
    within = [
        one
        for one in judgement.memory.incidents
        if one.family == incident.family
        and one.state == "resolved"
        and not one.rung
        and incident.onset_step <= one.onset_step
    ]
    for shown in (incident, *reversed(within)):
        for cause in _plain_causes(shown):
            if cause in ladder.by_cause and cause not in judgement.memory.remedied:
                return cause, shown
    return "", incident


def _plain_causes(incident: Incident) -> list[str]:
    return [one.cause for one in incident.diagnosis if one.support == "strong"]


_OF_THE_LOSS = ("divergence", "loss_spike")


def _is_adversarial(situation: Situation) -> bool:
    """Whether several models may train against each other, as in a GAN: several optimizers of one kind, or for several
    models. One model with two kinds of optimizer (Muon and AdamW) has one loss, and that must sink.
    """
    config = situation.description.config if situation.description is not None else {}
    models, optimizers = config.get("models"), config.get("optimizers")
    if not isinstance(optimizers, list) or len(optimizers) < 2:
        return False
    kinds = {one.get("name") if isinstance(one, dict) else None for one in optimizers}
    return len(kinds) == 1 or (isinstance(models, int) and models > 1)


def _climb(
    judgement: Judgement,
    incident: Incident,
    situation: Situation,
    playbook: Playbook,
    now: float,
    first_seen: int | None = None,
) -> Judgement:
    ladder = playbook.ladder(incident.kind)
    index = judgement.memory.rung(incident.family)
    past = judgement.memory.ladder(incident.family)
    if past.resumed_step is not None and situation.step < past.resumed_step + ladder.again_after_steps:
        again = past.resumed_step + ladder.again_after_steps
        reason = f"Wait until step {again}: the playbook wants {ladder.again_after_steps} steps between two remedies."
        return _record(judgement, incident, situation, playbook, now, "wait", reason)
    rung, exhausted = _rung(ladder, index)
    if rung is None:
        tried = exhausted or f"all {len(ladder.rungs)} remedies of playbook {playbook.name!r} were tried"
        reason = f"Nothing more: {tried}. A person must look."
        return _escalated(judgement, incident, situation, now, reason)
    spent = _spent(judgement, incident, playbook)
    if spent and not rung.halt:
        halting = next((one for one in ladder.rungs if one.halt), None)
        if halting is None:
            return _escalated(judgement, incident, situation, now, f"Nothing more: {spent}. A person must look.")
        rung, exhausted = halting, spent
    past_data = retry(incident, situation.checkpoints) if not spent and is_of_the_data(incident) else None
    if past_data is not None and situation.mode == "act":
        why = (
            "the loss was out of its band at the first step after the rollback already: it is the data, neither the "
            "rate nor the checkpoint"
        )
        sentence = f"{past_data.sentence[0].upper()}{past_data.sentence[1:]}, because {why}."
        return _command(judgement, incident, situation, now, sentence, past_data.orders, index, is_retry=True)
    if not incident.rung and not incident.relapses:
        incident = incident.model_copy(update={"cause": cause_of(incident)})
    own, seen_in = ("", incident) if rung.halt else _own_remedy(judgement, incident, ladder)
    rung = ladder.by_cause[own] if own else rung
    incident = incident.model_copy(update={"remedied": own})
    begun, depth = incident.model_copy(update={"evidence": seen_in.evidence}), index
    if first_seen is not None:
        # What seemed to heal and came again is no bad batch: what holds it now is to stay, and the checkpoints since
        # its first sign are not to be trusted, nor the one right before.
        incident = incident.model_copy(update={"cause": "rate"})
        begun = begun.model_copy(update={"cause": "rate", "onset_step": first_seen})
        rung, depth = rung.model_copy(update={"rollback": "deeper"}), index + 1
    remedy = compose(rung, begun, situation.checkpoints, depth)
    is_structural = False
    if rung.halt:
        report = halt_report(incident, judgement.memory, playbook)
        remedy, is_structural = Remedy((Halt(report=report),), remedy.sentence), report.is_structural
    if not remedy.orders:
        reason = f"Nothing, because {remedy.sentence}. A person must look."
        return _escalated(judgement, incident, situation, now, reason)
    cause = incident.summary.rstrip(".") or f"a {_words(incident.kind)} began at step {incident.onset_step}"
    place = f"remedy {index + 1} of {len(ladder.rungs)}"
    if exhausted:
        place = exhausted
    sentence = f"{remedy.sentence[0].upper()}{remedy.sentence[1:]}, because {_lowered(cause)} ({place})."
    if is_structural:
        sentence += (
            " No remedy brought the run beyond the place where it failed: this looks structural (the model, the loss "
            "or the data), not a matter of the rate or of one batch."
        )
    if situation.mode == "advise":
        reason = f"Would do in mode act: {_lowered(sentence)}"
        return _record(judgement, incident, situation, playbook, now, "propose", reason, remedy.orders)
    return _command(judgement, incident, situation, now, sentence, remedy.orders, index)


def _rung(ladder: Ladder, index: int) -> tuple[Rung | None, str]:
    rungs = ladder.rungs
    is_over = ladder.at_most is not None and index >= ladder.at_most
    if index < len(rungs) and not is_over:
        return rungs[index], "every milder remedy was tried" if rungs[index].halt else ""
    why = f"the {ladder.at_most} remedies that the playbook allows were tried" if is_over else ""
    if rungs and rungs[-1].halt:
        return rungs[-1], why or "every remedy was tried"
    return None, why


def _spent(judgement: Judgement, incident: Incident, playbook: Playbook) -> str:
    """Why no further remedy is worth trying; empty where one is."""
    budget, past = playbook.budget, judgement.memory.ladder(incident.family)
    if judgement.memory.rollbacks >= budget.rollbacks:
        return f"the budget of {budget.rollbacks} rollbacks is spent"
    goes_on = past.failed_step is not None and incident.onset_step > past.failed_step
    if past.without_progress >= budget.without_progress and not goes_on:
        return f"{past.without_progress} remedies in a row brought the run no further than step {past.failed_step}"
    return ""


def _command(
    judgement: Judgement,
    incident: Incident,
    situation: Situation,
    now: float,
    sentence: str,
    orders: tuple[Order, ...],
    index: int,
    is_retry: bool = False,
) -> Judgement:
    halts = orders[0].action == "halt"
    expires_at = now + situation.command_ttl_seconds
    # The fence is part of the name: two processes that judge the same moment make the same command.
    place = f"{situation.attempt}:{situation.revision}:{index}:{incident.retries}:{incident.fruitless}"
    name = f"{incident.incident_id}:{place}"
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
    judgement = judgement.with_incident(incident.obeying(command, sentence, now, is_retry=is_retry))
    return replace(
        judgement,
        decisions=(*judgement.decisions, decision),
        commands=(*judgement.commands, command),
    )


def _record(
    judgement: Judgement,
    incident: Incident,
    situation: Situation,
    playbook: Playbook,
    now: float,
    verdict: Verdict,
    reason: str,
    orders: tuple[Order, ...] = (),
) -> Judgement:
    if verdict == "propose":
        if incident.declined == incident.circumstances:
            return judgement
        # A checkpoint that has gone leaves a proposal that nobody could carry out: there it is made anew.
        target = next((str(one.checkpoint_id) for one in orders if isinstance(one, Rollback)), "")
        mark = f"propose:{incident.circumstances}:{target}"
    else:
        mark = f"{verdict}:{incident.circumstances}"
    is_renewed = verdict == "propose" and now >= (incident.proposal_expires_at or now + 1)
    if incident.decided == mark and not is_renewed:
        return judgement
    decision = _decision(incident, situation, now, verdict, reason, orders, incident.rung)
    expires_at = now + playbook.proposal_valid_seconds if verdict == "propose" else None
    decision = decision.model_copy(update={"expires_at": expires_at})
    decided = incident.model_copy(
        update={"decided": mark, "updated_at": now, "outcome": reason, "proposal_expires_at": expires_at}
    )
    # Made anew it is the same request: people were told of it once.
    is_new = verdict == "propose" and not incident.decided.startswith(f"propose:{incident.circumstances}:")
    notices = (Notice(incident.incident_id, "needs_approval", reason),) if is_new and not situation.silenced else ()
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
