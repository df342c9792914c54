"""The trainer's answer to a command: applied, refused or failed, and what changed."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from pydantic import Field, JsonValue

from trainguard.wire.base import Attempt, Revision, Sentence, Step, UnixTime, WireModel

AcknowledgementStatus = Literal["applied", "refused", "failed"]
"""refused: nothing was touched; failed: it was begun and could not be completed."""


class Acknowledgement(WireModel):
    """Repeated until a receipt covers it; the same command is acknowledged again, never applied again."""

    command_id: UUID
    status: AcknowledgementStatus
    action: str
    attempt: Attempt
    """The attempt in force afterwards."""
    revision: Revision
    """The revision in force afterwards."""
    step: Step
    """The last step made before the boundary at which it was handled."""
    next_step: Step
    """The step to make after it."""
    handled_at: UnixTime
    reason: Sentence
    changes: dict[str, JsonValue] = Field(default_factory=dict)
    """What changed, read back from the objects themselves: rates, restored step, checksum."""
