"""The only message up: everything that one trainer process has to say since the last receipt."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from trainguard.wire.acknowledgement import Acknowledgement
from trainguard.wire.attempt import AttemptReport
from trainguard.wire.base import WIRE_VERSION, Attempt, Revision, UnixTime, WireModel
from trainguard.wire.checkpoint import CheckpointReport
from trainguard.wire.evaluation import Evaluation
from trainguard.wire.finding import Finding
from trainguard.wire.incident import DecisionReport, IncidentReport
from trainguard.wire.observation import ObservationBlock

RunState = Literal["running", "finished", "halted", "failed"]
"""finished: ``close()`` after the loop; failed: an exception left the loop; halted: ``TrainingHalted``."""


class Envelope(WireModel):
    """Sent at least once, recorded exactly once: ``(run, sender, sequence)`` names it.

    A sender numbers its envelopes from 1 without gaps and sends the next only after the receipt of the last.
    """

    wire_version: Annotated[int, Field(ge=1)] = WIRE_VERSION
    run_id: UUID
    sender: UUID
    """New for every trainer process."""
    sequence: Annotated[int, Field(ge=1, lt=2**53)]
    sent_at: UnixTime
    attempt: Attempt
    """The attempt in force in the trainer when this was packed."""
    revision: Revision
    """The revision in force in the trainer when this was packed."""
    state: RunState = "running"
    attempts: Annotated[list[AttemptReport], Field(max_length=1000)] = Field(default_factory=list)
    blocks: Annotated[list[ObservationBlock], Field(max_length=1000)] = Field(default_factory=list)
    """In the order of time; one block per stretch of one attempt."""
    evaluations: Annotated[list[Evaluation], Field(max_length=1000)] = Field(default_factory=list)
    findings: Annotated[list[Finding], Field(max_length=1000)] = Field(default_factory=list)
    """What the trainer's own panel saw; the service judges by its own panel and keeps these for comparison."""
    checkpoints: Annotated[list[CheckpointReport], Field(max_length=1000)] = Field(default_factory=list)
    acknowledgements: Annotated[list[Acknowledgement], Field(max_length=1000)] = Field(default_factory=list)
    incidents: Annotated[list[IncidentReport], Field(max_length=1000)] = Field(default_factory=list)
    """Of the local brain, while it was in charge."""
    decisions: Annotated[list[DecisionReport], Field(max_length=1000)] = Field(default_factory=list)
    """Of the local brain, while it was in charge."""
    observations_lost: Annotated[int, Field(ge=0)] = 0
    """Observations this sender had to drop so far, in all."""
