"""The stage of policy that gives every open incident its diagnosis."""

from __future__ import annotations

from trainguard.policy.diagnosis.ranking import hypotheses
from trainguard.policy.diagnosis.set_up import SetUp
from trainguard.policy.diagnosis.symptoms import Symptoms
from trainguard.policy.playbook import Playbook
from trainguard.policy.situation import Judgement, Situation


def diagnose(judgement: Judgement, situation: Situation, playbook: Playbook, now: float) -> Judgement:
    """Diagnose the open incidents that changed at this moment: their evidence may be new."""
    if not judgement.changed:
        return judgement
    set_up = SetUp.of(situation.description)
    for incident in judgement.memory.active():
        if incident.state != "open" or incident.incident_id not in judgement.changed:
            continue
        diagnosis = hypotheses(Symptoms(incident, set_up))
        if diagnosis != incident.diagnosis:
            judgement = judgement.with_incident(incident.model_copy(update={"diagnosis": diagnosis}))
    return judgement
