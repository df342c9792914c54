"""The training as an action sees it: everything it may touch, and where the loop stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from client_hook.data_window import DataWindow
from client_hook.recovery.keeper import CheckpointKeeper
from client_hook.recovery.learning_rate import RateMultiplier
from client_hook.recovery.snapshot import TrainingState


@dataclass
class Position:
    """Where the loop stands. Only the hook and the rollback move it."""

    attempt: int = 0
    revision: int = 0
    step: int = -1
    """The last step made."""
    next_step: int = 0
    """The step to make now."""
    data_step: int = 0
    """Observations so far; never goes back."""


@dataclass
class Training:
    """What an action may touch."""

    state: TrainingState
    keeper: CheckpointKeeper | None
    rate: RateMultiplier
    data: DataWindow
    position: Position
    follows_next_step: bool = False
    """Whether the loop is known to go back when told (``hook.steps``, or a reader of ``next_step``)."""
    rewind_detectors: Callable[[Mapping[str, Any] | None], None] = field(default=lambda saved: None)
    """Lets the detectors go back with the model; called after the position has moved."""
