"""What policy remembers of a run. A rollback never rewinds it: the second incident climbs the second rung."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import Field

from trainguard.policy.incident import Incident
from trainguard.wire import WireModel
from trainguard.wire.base import Sentence, Step, UnixTime

TRIED_KEPT = 24
KEPT_CLOSED = 16
"""Closed incidents kept in memory for reports; the database and the journal keep the rest."""


class LadderMemory(WireModel):
    """How far one family's ladder was climbed."""

    rung: Annotated[int, Field(ge=0)] = 0
    """Remedies applied so far: the index of the next rung."""
    last_step: Step = 0
    """The last step of the last trouble, from which healthy steps are counted."""
    failed_step: Step | None = None
    """Where the run had failed when the last remedy was applied."""
    resumed_step: Step | None = None
    """The step at which the run went on after it."""
    without_progress: Annotated[int, Field(ge=0)] = 0
    """Remedies in a row after which it failed again before it was past the place where it had failed."""


class RateDebt(WireModel):
    """What is still to be given back of a rate that was lowered, and of a limit that was set for gradient norms, for
    a cause that has passed: first the rate, then the limit.
    """

    incident_id: UUID
    owed: Annotated[float, Field(ge=1, allow_inf_nan=False)]
    """The factor by which the multiplier is to be raised in all; 1 where nothing of it is owed."""
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    """The limit that is to be lifted; ``None`` where none is."""
    clip_norm_before: Annotated[float, Field(gt=0)] | None = None
    """The limit that was there before, and stays; ``None`` for none."""
    clip_raises: Annotated[int, Field(ge=0)] = 0
    due_step: Step
    step_factor: Annotated[float, Field(gt=1, allow_inf_nan=False)] = 2.0
    every_steps: Annotated[int, Field(ge=1)] = 50
    raises: Annotated[int, Field(ge=0)] = 0
    refusals: Annotated[int, Field(ge=0)] = 0
    command_id: UUID | None = None
    command_factor: Annotated[float, Field(gt=0)] = 1.0
    """What the command on its way multiplies the rate by; 1 for one that loosens the limit."""
    command_expires_at: UnixTime | None = None


class PolicyMemory(WireModel):
    """JSON in the runs row of the service, and in the trainer's journal."""

    incidents: Annotated[tuple[Incident, ...], Field(max_length=200)] = ()
    """Active ones, then the latest closed."""
    ladders: dict[str, LadderMemory] = Field(default_factory=dict)
    rollbacks: Annotated[int, Field(ge=0)] = 0
    steps_lost: Annotated[int, Field(ge=0)] = 0
    seconds_lost: Annotated[float, Field(ge=0)] = 0.0
    tried: Annotated[tuple[Sentence, ...], Field(max_length=TRIED_KEPT)] = ()
    """The latest remedies that were applied, in words, until a long healthy stretch forgives them."""
    learned_revision: Annotated[int, Field(ge=0)] = 0
    """Of the latest applied command that was heard of: its answer is repeated until a receipt covers it."""
    lr_scale: Annotated[float, Field(gt=0)] | None = None
    """The multiplier in the trainer's latest answer; ``None`` before the first. Nothing is given back beyond 1."""
    remedied: Annotated[tuple[str, ...], Field(max_length=64)] = ()
    """Causes whose own remedy was applied, until a long healthy stretch forgives them."""
    rate_debt: RateDebt | None = None
    rate_returned_in_vain: bool = False
    """The rate was given back once and the trouble came again: it was the rate after all, and now it stays."""

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

    def ladder(self, family: str) -> LadderMemory:
        """How far a family's ladder was climbed."""
        return self.ladders.get(family, LadderMemory())

    def climbed(
        self, family: str, step: int, *, onset_step: int | None = None, resumed_step: int | None = None
    ) -> PolicyMemory:
        """The memory after one more remedy was applied at ``step``, for a trouble that began at ``onset_step``."""
        former = self.ladder(family)
        onset_step = step if onset_step is None else onset_step
        came_further = former.failed_step is None or onset_step > former.failed_step
        climbed = LadderMemory(
            rung=former.rung + 1,
            last_step=max(step, former.last_step),
            failed_step=max(step, former.failed_step or 0),
            resumed_step=resumed_step,
            without_progress=1 if came_further else former.without_progress + 1,
        )
        return self._with_ladder(family, climbed)

    def having_tried(self, sentence: str) -> PolicyMemory:
        """The memory with one more remedy in words."""
        return self.model_copy(update={"tried": (*self.tried, sentence[:4000])[-TRIED_KEPT:]})

    def troubled(self, family: str, step: int) -> PolicyMemory:
        """The memory after trouble was seen at ``step``: the healthy stretch begins anew."""
        former = self.ladders.get(family)
        if former is None or former.last_step >= step:
            return self
        return self._with_ladder(family, former.model_copy(update={"last_step": step}))

    def forgiven(self, step: int, after_steps: int) -> PolicyMemory:
        """The memory with ladders counted from zero that saw no trouble for ``after_steps``."""
        kept = {name: ladder for name, ladder in self.ladders.items() if step - ladder.last_step < after_steps}
        if len(kept) == len(self.ladders):
            return self
        forgotten = {} if kept else {"rollbacks": 0, "tried": (), "remedied": (), "rate_returned_in_vain": False}
        return self.model_copy(update={"ladders": kept, **forgotten})

    def _with_ladder(self, family: str, ladder: LadderMemory) -> PolicyMemory:
        return self.model_copy(update={"ladders": {**self.ladders, family: ladder}})
