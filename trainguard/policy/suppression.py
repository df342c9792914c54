"""Why nothing need be decided on an incident now: said in a sentence, never assumed."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from trainguard.policy.playbook import Playbook
from trainguard.policy.situation import Judgement, Situation


def suppress(judgement: Judgement, situation: Situation, playbook: Playbook, now: float) -> Judgement:
    """Mark the active incidents that call for no decision at this moment, and drop silenced notices."""
    quiet: dict[UUID, str] = {}
    for incident in judgement.memory.active():
        if incident.state == "recovering":
            quiet[incident.incident_id] = "a command is on its way to the trainer"
        elif incident.state == "watching":
            quiet[incident.incident_id] = f"on probation until step {incident.watch_until_step}"
        elif situation.run_state != "running":
            quiet[incident.incident_id] = f"the run is {situation.run_state}"
        elif situation.attempt < incident.attempt:
            quiet[incident.incident_id] = "the trainer has not reported its new attempt yet"
    notices = judgement.notices
    if situation.silenced:
        # A silence is a wish not to be told; an escalation is told all the same, since nothing else will act.
        notices = tuple(notice for notice in notices if notice.event == "escalated")
    if quiet == judgement.quiet and notices == judgement.notices:
        return judgement
    return replace(judgement, quiet=quiet, notices=notices)
