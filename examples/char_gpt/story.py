"""What the service tells of a rescue: incidents, decisions and rollbacks, read back over its HTTP interface.

Nothing here is taken from the process that trained: the table and the report at the end of the demo say what
a person would find in the service on the next morning.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

Document = dict[str, Any]
Get = Callable[..., Any]
"""``get(path, **parameters)`` of the service's interface; see `examples.char_gpt.service.Service.get`."""


@dataclass(frozen=True)
class RollbackFact:
    """One rollback, from the first sign of trouble to the step at which the training went on."""

    incident: str
    """The kind of incident it answered."""
    onset_step: int
    """Where the trouble of this attempt began. (Step numbers repeat; an incident may live through several.)"""
    detected_step: int
    """The step at which it was first seen in this attempt."""
    decided_step: int
    """The last step that the service knew of when it decided."""
    checkpoint_step: int
    """The next step to make after the rollback."""
    steps_lost: int
    lr_scale: float
    """The learning-rate multiplier from then on."""
    decision: str
    decided_by: str
    answer: str
    """The trainer's acknowledgement, in its own words."""


@dataclass(frozen=True)
class Story:
    """One run as the service knows it."""

    state: str
    attempts: int
    rollbacks: tuple[RollbackFact, ...]
    incidents: tuple[Document, ...]
    decisions: tuple[Document, ...]

    @property
    def steps_lost(self) -> int:
        """Steps that rollbacks threw away."""
        return sum(rollback.steps_lost for rollback in self.rollbacks)

    @property
    def lr_scale(self) -> float:
        """The learning-rate multiplier at the end."""
        return self.rollbacks[-1].lr_scale if self.rollbacks else 1.0


def read_story(get: Get, run_id: UUID) -> Story:
    """Ask the service what became of the run."""
    run = get(f"/runs/{run_id}")
    incidents = get(f"/runs/{run_id}/incidents")["incidents"]
    decisions = get(f"/runs/{run_id}/decisions")["decisions"]
    acknowledgements = get(f"/runs/{run_id}/acknowledgements")["acknowledgements"]
    findings = get(f"/runs/{run_id}/findings", source="server")["findings"]
    attempts = get(f"/runs/{run_id}/attempts")["attempts"]
    return Story(
        state=run["state"],
        attempts=len(attempts),
        rollbacks=rollbacks_of(incidents, decisions, acknowledgements, findings),
        incidents=tuple(sorted(incidents, key=lambda one: one["opened_at"])),
        decisions=tuple(sorted(decisions, key=lambda one: one["decided_at"])),
    )


def rollbacks_of(
    incidents: list[Document],
    decisions: list[Document],
    acknowledgements: list[Document],
    findings: list[Document],
) -> tuple[RollbackFact, ...]:
    """Every applied rollback with the incident and the decision behind it, in the order of time."""
    incident_by_id = {one["incident_id"]: one for one in incidents}
    decision_by_command = {one["command_id"]: one for one in decisions if one.get("command_id")}
    facts: list[RollbackFact] = []
    for answer in sorted(acknowledgements, key=lambda one: one["handled_at"]):
        decision = decision_by_command.get(answer["command_id"])
        if answer["status"] != "applied" or answer["action"] != "rollback" or decision is None:
            continue
        incident = incident_by_id[decision["incident_id"]]
        # The decision's own attempt only: the incident itself knows just one onset for all its attempts.
        seen = [one for one in findings if _led_to(one, incident, decision)] or [
            incident | {"step": incident["detected_step"]}
        ]
        facts.append(
            RollbackFact(
                incident=incident["kind"],
                onset_step=min(one["onset_step"] for one in seen),
                detected_step=min(one["step"] for one in seen),
                decided_step=decision["step"],
                checkpoint_step=answer["next_step"],
                steps_lost=max(0, answer["step"] + 1 - answer["next_step"]),
                lr_scale=answer["changes"]["lr_scale"],
                decision=decision["reason"],
                decided_by=decision["decided_by"],
                answer=answer["reason"],
            )
        )
    return tuple(facts)


def _led_to(finding: Document, incident: Document, decision: Document) -> bool:
    in_time = incident["opened_at"] <= finding["recorded_at"] <= decision["decided_at"]
    return bool(in_time and finding["attempt"] == decision["attempt"] and finding["severity"] != "info")
