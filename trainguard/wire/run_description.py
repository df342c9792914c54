"""Who is training: sent once when a trainer registers, and again whenever the service has forgotten it."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, JsonValue, StringConstraints

from trainguard.wire.base import WIRE_VERSION, SignalValue, UnixTime, WireModel

Mode = Literal["observe", "advise", "act"]
"""What a run allows: ``observe`` watches, ``advise`` says what it would do, ``act`` does it."""

Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$"),
]
"""A name for people: 1 to 200 characters, no control characters. A run named ``<script>`` is only a name."""


class RunDescription(WireModel):
    """One training job. ``run_id`` is made by the trainer and lives in its journal, so a restart keeps it."""

    wire_version: Annotated[int, Field(ge=1)] = WIRE_VERSION
    run_id: UUID
    run: Name
    project: Name = "default"
    mode: Mode = "advise"
    started_at: UnixTime
    total_steps: Annotated[int, Field(ge=0)] | None = None
    """Planned optimizer steps, where the loop told us (``hook.steps(n)``)."""
    checkpoint_every: Annotated[int, Field(ge=1)] | None = None
    """Optimizer steps between checkpoints; ``None`` where none are taken."""
    world_size: Annotated[int, Field(ge=1)] = 1
    hostname: Annotated[str, Field(max_length=255)] = ""
    tags: Annotated[dict[str, str], Field(max_length=64)] = Field(default_factory=dict)
    config: Annotated[dict[str, JsonValue], Field(max_length=256)] = Field(default_factory=dict)
    """What the hook saw: optimizers with their groups, scheduler, scaler, precision, versions."""
    sensitivity: Literal["low", "normal", "high"] = "normal"
    detectors: Annotated[dict[str, dict[str, SignalValue]], Field(max_length=64)] = Field(default_factory=dict)
    """Thresholds that this run sets for itself, by detector and name (``attach(detectors=…)``)."""
    playbook: dict[str, JsonValue] | None = None
    """The run's own playbook (`trainguard.policy.Playbook` as JSON); ``None`` takes the service's default."""
