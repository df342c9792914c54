"""What policy remembers of a run. A rollback never rewinds it: the second incident climbs the second rung."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from trainguard.policy.incident import Incident
from trainguard.wire import WireModel
from trainguard.wire.base import Step

KEPT_CLOSED = 16
"""Closed incidents kept in memory for reports; the database and the journal keep the rest."""


class LadderMemory(WireModel):
    """How far one family's ladder was climbed."""

    rung: Annotated[int, Field(ge=0)] = 0
    """Remedies applied so far: the index of the next rung."""
    last_step: Step = 0
    """The last step of the last trouble, from which healthy steps are counted."""


class PolicyMemory(WireModel):
    """JSON in the runs row of the service, and in the trainer's journal."""

    incidents: Annotated[tuple[Incident, ...], Field(max_length=200)] = ()
    """Active ones, then the latest closed."""
    ladders: dict[str, LadderMemory] = Field(default_factory=dict)
    rollbacks: Annotated[int, Field(ge=0)] = 0
    steps_lost: Annotated[int, Field(ge=0)] = 0

    def active(self) -> tuple[Incident, ...]:
        """Incidents whose life goes on."""
        return tuple(incident for incident in self.incidents if incident.is_active)

    def rung(self, family: str) -> int:
        """The index of the next rung of a family's ladder."""
        memory = self.ladders.get(family)
        return memory.rung if memory else 0

    def with_incident(self, incident: Incident) -> PolicyMemory:
        """The memory with ``incident`` in place of its former self."""
        others = [one for one in self.incidents if one.incident_id != incident.incident_id]
        closed = [one for one in others if not one.is_active][-KEPT_CLOSED:]
        kept = [one for one in others if one.is_active or one in closed]
        return self.model_copy(update={"incidents": (*kept, incident)})

    def climbed(self, family: str, step: int) -> PolicyMemory:
        """The memory after one more remedy was applied."""
        former = self.ladders.get(family, LadderMemory())
        return self._with_ladder(family, LadderMemory(rung=former.rung + 1, last_step=max(step, former.last_step)))

    def troubled(self, family: str, step: int) -> PolicyMemory:
        """The memory after trouble was seen at ``step``: the healthy stretch begins anew."""
        former = self.ladders.get(family)
        if former is None or former.last_step >= step:
            return self
        return self._with_ladder(family, LadderMemory(rung=former.rung, last_step=step))

    def forgiven(self, step: int, after_steps: int) -> PolicyMemory:
        """The memory with ladders counted from zero that saw no trouble for ``after_steps``."""
        kept = {name: ladder for name, ladder in self.ladders.items() if step - ladder.last_step < after_steps}
        if len(kept) == len(self.ladders):
            return self
        return self.model_copy(update={"ladders": kept, "rollbacks": self.rollbacks if kept else 0})

    def _with_ladder(self, family: str, ladder: LadderMemory) -> PolicyMemory:
        return self.model_copy(update={"ladders": {**self.ladders, family: ladder}})
