"""The report at the end of a ladder."""

from __future__ import annotations

from trainguard.policy.incident import Incident
from trainguard.policy.memory import PolicyMemory
from trainguard.policy.playbook import Playbook
from trainguard.wire import HaltReport


def halt_report(incident: Incident, memory: PolicyMemory, playbook: Playbook) -> HaltReport:
    """What was tried on the run, what it cost, and what may be behind it."""
    ladder = memory.ladder(incident.family)
    return HaltReport(
        incident_id=incident.incident_id,
        kind=incident.kind,
        summary=incident.summary,
        onset_step=incident.onset_step,
        furthest_step=max(incident.failed_step, ladder.failed_step or 0),
        is_structural=ladder.without_progress >= max(2, min(playbook.budget.without_progress, 3)),
        rollbacks=memory.rollbacks,
        steps_lost=memory.steps_lost,
        seconds_lost=memory.seconds_lost,
        tried=memory.tried,
        diagnosis=incident.diagnosis,
    )
