"""What an evaluation measured: ``hook.evaluated(val_loss=…)``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from trainguard.wire.base import Attempt, SignalName, SignalValue, Step, UnixTime, WireModel


class Evaluation(WireModel):
    """Validation figures of one moment, belonging to the state *before* step ``step``."""

    attempt: Attempt
    step: Step
    evaluated_at: UnixTime
    values: Annotated[dict[SignalName, SignalValue], Field(min_length=1, max_length=64)]
