"""The only message down: what was recorded, and what the trainer is asked to do."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, JsonValue

from trainguard.wire.base import WIRE_VERSION, Sentence, UnixTime, WireModel
from trainguard.wire.command import Command

ReceiptStatus = Literal["recorded", "duplicate"]


class Receipt(WireModel):
    """It leaves the service only after the commit: whatever it covers is in the database."""

    wire_version: Annotated[int, Field(ge=1)] = WIRE_VERSION
    run_id: UUID
    sender: UUID
    sequence: Annotated[int, Field(ge=1)]
    """The highest sequence of this sender that is in the database."""
    status: ReceiptStatus
    server_time: UnixTime
    commands: list[Command] = Field(default_factory=list)
    """Every command of this run that is neither acknowledged nor expired; repeated until it is."""
    flush_seconds: Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)] = 2.0
    """How long the trainer may gather before it sends again; the service raises it under load."""
    lease_seconds: Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)] = 60.0
    """How long the service stays the brain from now on."""
    adopted: list[UUID] = Field(default_factory=list)
    """Incidents of this envelope, the local brain's own, that the service follows from here on."""
    playbook: dict[str, JsonValue] | None = None
    """The project's playbook (`trainguard.policy.Playbook` as JSON), for the local brain while the service is away;
    ``None``: nothing new of it. Told at a process's first envelope, and whenever something was judged by it.
    """
    message: Sentence = ""
    """The latest decision on this run, for the trainer's log."""
