"""Why a training was halted: what was tried, what it cost, and what a person should look at. As data and in words."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import Field

from trainguard.wire.base import Sentence, Step, WireModel
from trainguard.wire.finding import FindingKind
from trainguard.wire.hypothesis import Hypothesis


class HaltReport(WireModel):
    """Travels with the order to halt, so that the trainer can show it where nobody reaches the service."""

    incident_id: UUID
    kind: FindingKind
    summary: Sentence
    onset_step: Step
    furthest_step: Step
    """No attempt came further in health."""
    is_structural: bool = False
    """No remedy brought the run beyond the place where it had failed: the cause is not in the rate or one batch."""
    rollbacks: Annotated[int, Field(ge=0)] = 0
    steps_lost: Annotated[int, Field(ge=0)] = 0
    seconds_lost: Annotated[float, Field(ge=0)] = 0.0
    tried: Annotated[tuple[Sentence, ...], Field(max_length=32)] = ()
    """Each remedy that was applied, with what came of it."""
    diagnosis: Annotated[tuple[Hypothesis, ...], Field(max_length=16)] = ()

    def sentences(self) -> list[str]:
        """The whole report in words, a line each."""
        lines = [
            f"{self.summary}",
            f"It began at step {self.onset_step}; the furthest that any attempt came is step {self.furthest_step}.",
        ]
        if self.tried:
            lines.append(
                f"{len(self.tried)} remedies were tried, with {self.rollbacks} rollbacks; {self.steps_lost} steps and "
                f"{self.seconds_lost:.0f} s were lost:"
            )
            lines += [f"  {number}. {sentence}" for number, sentence in enumerate(self.tried, 1)]
        if self.is_structural:
            lines.append(
                "No remedy brought the run beyond the place where it failed. This looks structural: the model, the "
                "loss or the data, rather than the learning rate or a single batch. Training it on will not help."
            )
        if self.diagnosis:
            lines.append("What may be behind it, the best supported first:")
        for one in self.diagnosis:
            lines.append(f"  - {one.statement} ({one.support})")
            lines += [f"      {sentence}" for sentence in one.evidence]
            lines.append(f"      Next: {one.next_step}")
        return lines
