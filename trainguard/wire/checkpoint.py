"""What a trainer can go back to. The service knows checkpoints by id only, never by path."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from trainguard.wire.base import Attempt, Sentence, Step, UnixTime, WireModel

CheckpointState = Literal["candidate", "confirmed", "suspect", "removed"]
"""candidate: written and finite; confirmed: a quiet stretch followed; suspect: an incident reaches back to it."""


class CheckpointReport(WireModel):
    """The latest news of one checkpoint; a later report of the same id replaces an earlier one."""

    checkpoint_id: UUID
    attempt: Attempt
    step: Step
    """The *next* step to make after restoring it."""
    state: CheckpointState
    place: Literal["disk", "memory", "other"] = "disk"
    size_bytes: Annotated[int, Field(ge=0)] = 0
    saved_at: UnixTime
    reason: Sentence = ""
    """Why it has this state, in a sentence."""
