"""The training as an action sees it: everything it may touch, and where the loop stands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from client_hook.data_window import DataWindow
from client_hook.recovery.clipping_limit import ClippingLimit
from client_hook.recovery.keeper import CheckpointKeeper
from client_hook.recovery.learning_rate import RateMultiplier
from client_hook.recovery.pause import LoopPause
from client_hook.recovery.rerun import RerunReport
from client_hook.recovery.snapshot import Snapshot, TrainingState
from client_hook.recovery.update_skips import UpdateSkips


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
    clipping: ClippingLimit = field(default_factory=ClippingLimit)
    updates: UpdateSkips = field(default_factory=UpdateSkips)
    pause: LoopPause = field(default_factory=LoopPause)
    initial_loss_scale: float | None = None
    """The scaler's scale at attach; ``None`` without a scaler."""
    follows_next_step: Callable[[], bool] = field(default=lambda: True)
    """Whether the loop is known to go back when told (``hook.steps``)."""
    world_size: int = 1
    """Ranks that train this model together."""
    rerun: Callable[[int], RerunReport] | None = None
    """Makes the re-run test, with so many runs; ``None`` as long as the loop has given no function for it."""
    rewound: Callable[[Snapshot], None] = field(default=lambda snapshot: None)
    """Called after the model went back and the position moved: the detectors go back too."""
