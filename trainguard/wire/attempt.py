"""A branch of a run's history: begins at the start, at a rollback, or at a restart."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from trainguard.wire.base import Attempt, Sentence, Step, UnixTime, WireModel

AttemptReason = Literal["start", "rollback", "restart"]


class AttemptReport(WireModel):
    """Steps from ``start_step`` on belong to ``attempt``; what ``parent`` made from there on is abandoned."""

    attempt: Attempt
    parent: Attempt | None = None
    start_step: Step
    """The first step of this attempt; the parent's steps before it are its history."""
    reason: AttemptReason
    began_at: UnixTime
    command_id: UUID | None = None
    note: Sentence = ""
