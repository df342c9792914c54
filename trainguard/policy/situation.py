"""What policy is shown of a run at one moment, and what it makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal
from uuid import UUID

from trainguard.detectors.vitals import Vitals
from trainguard.policy.incident import Incident
from trainguard.policy.memory import PolicyMemory
from trainguard.wire import (
    Acknowledgement,
    CheckpointReport,
    Command,
    DecisionReport,
    Finding,
    IncidentReport,
    Mode,
    RunDescription,
    RunState,
)

Event = Literal["opened", "needs_approval", "recovering", "recovered", "resolved", "escalated"]


@dataclass(frozen=True)
class Situation:
    """One run, now. ``findings`` and ``acknowledgements`` are those since the last judgement."""

    run_id: UUID
    mode: Mode
    attempt: int
    revision: int
    step: int
    """The last step observed."""
    vitals: Vitals | None = None
    findings: Sequence[Finding] = ()
    acknowledgements: Sequence[Acknowledgement] = ()
    checkpoints: Sequence[CheckpointReport] = ()
    """The latest report of every checkpoint known."""
    silenced: bool = False
    """A person's wish not to be told: it silences notices, never decisions."""
    decided_by: Literal["server", "local"] = "server"
    run_state: RunState = "running"
    command_ttl_seconds: float = 300.0
    description: RunDescription | None = None
    """How the run is set up, for the diagnosis; it may be unknown."""


@dataclass(frozen=True)
class Notice:
    """Something a person may want to be told."""

    incident_id: UUID
    event: Event
    sentence: str


@dataclass(frozen=True)
class Judgement:
    """Grows from stage to stage: what policy now remembers, and what came out of this moment."""

    memory: PolicyMemory
    changed: tuple[UUID, ...] = ()
    """Incidents that changed, in order."""
    quiet: dict[UUID, str] = field(default_factory=dict)
    """Active incidents on which nothing need be decided, with the reason."""
    decisions: tuple[DecisionReport, ...] = ()
    commands: tuple[Command, ...] = ()
    notices: tuple[Notice, ...] = ()

    @classmethod
    def begin(cls, memory: PolicyMemory) -> Judgement:
        """Nothing has happened yet."""
        return cls(memory=memory)

    @property
    def incidents(self) -> tuple[IncidentReport, ...]:
        """Reports of the incidents that changed."""
        by_id = {incident.incident_id: incident for incident in self.memory.incidents}
        return tuple(by_id[one].report() for one in self.changed if one in by_id)

    def with_incident(self, incident: Incident, *notices: Notice) -> Judgement:
        """The judgement with ``incident`` changed, and notices of it."""
        changed = (*(one for one in self.changed if one != incident.incident_id), incident.incident_id)
        return replace(
            self,
            memory=self.memory.with_incident(incident),
            changed=changed,
            notices=(*self.notices, *notices),
        )

    def with_memory(self, memory: PolicyMemory) -> Judgement:
        """The judgement with another memory."""
        return self if memory is self.memory else replace(self, memory=memory)
