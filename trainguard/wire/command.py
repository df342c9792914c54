"""An order to the trainer, from a closed set of actions. It names no path and carries no code.

A command is one or several orders that are applied together or not at all, in their order. It names the
attempt and revision it was decided for and is refused on any other, and it expires.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Union
from uuid import UUID

from pydantic import BaseModel, Discriminator, Field, Tag

from trainguard.wire.base import Attempt, Revision, Sentence, UnixTime, WireModel
from trainguard.wire.halt_report import HaltReport


class Rollback(WireModel):
    """Restore a checkpoint that this trainer itself reported."""

    action: Literal["rollback"] = "rollback"
    checkpoint_id: UUID


class LowerLearningRate(WireModel):
    """Multiply the learning-rate multiplier by ``factor``, whatever the schedule does."""

    action: Literal["lower_learning_rate"] = "lower_learning_rate"
    factor: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]


class RewarmUp(WireModel):
    """Raise the rate linearly from near 0 to the scheduled rate times the multiplier over ``steps``."""

    action: Literal["rewarm_up"] = "rewarm_up"
    steps: Annotated[int, Field(ge=1, le=1_000_000)]


class ResetMoments(WireModel):
    """Empty the optimizers' state (moments, momentum buffers, step counts)."""

    action: Literal["reset_moments"] = "reset_moments"


class SkipDataWindow(WireModel):
    """Pass over the next ``batches`` of ``hook.batches(loader)``."""

    action: Literal["skip_data_window"] = "skip_data_window"
    batches: Annotated[int, Field(ge=1, le=1_000_000)]


class SkipUpdate(WireModel):
    """Leave the weights alone for the next ``updates`` observations; losses are still measured."""

    action: Literal["skip_update"] = "skip_update"
    updates: Annotated[int, Field(ge=1, le=1_000)] = 1


class SkipBatch(WireModel):
    """Pass over the very next batch of ``hook.batches(loader)``."""

    action: Literal["skip_batch"] = "skip_batch"


class TightenClipping(WireModel):
    """Hold every optimizer's gradient norm at or below ``max_norm``, however loosely the loop clips."""

    action: Literal["tighten_clipping"] = "tighten_clipping"
    max_norm: Annotated[float, Field(gt=0, allow_inf_nan=False)]


class LoosenClipping(WireModel):
    """Raise the limit for gradient norms that ``TightenClipping`` set to ``max_norm``; left out, lift it altogether."""

    action: Literal["loosen_clipping"] = "loosen_clipping"
    max_norm: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None


class ScaleLearningRate(WireModel):
    """Multiply the learning-rate multiplier by ``factor``, also upwards: a lowered rate comes back in steps."""

    action: Literal["scale_learning_rate"] = "scale_learning_rate"
    factor: Annotated[float, Field(ge=1e-3, le=1e3, allow_inf_nan=False)]


class SetLossScale(WireModel):
    """Set the GradScaler's scale; left out, the one it had when the hook was attached."""

    action: Literal["set_loss_scale"] = "set_loss_scale"
    scale: Annotated[float, Field(gt=0, le=2.0**40, allow_inf_nan=False)] | None = None


class Pause(WireModel):
    """Let the loop wait inside ``observe`` for a ``resume`` or ``halt``; after ``seconds`` it goes on by itself."""

    action: Literal["pause"] = "pause"
    seconds: Annotated[float, Field(gt=0, le=7 * 86_400, allow_inf_nan=False)] = 3600.0


class Resume(WireModel):
    """End a pause."""

    action: Literal["resume"] = "resume"


class SaveNow(WireModel):
    """Take a checkpoint at this boundary."""

    action: Literal["save_now"] = "save_now"


class RerunTest(WireModel):
    """Make the latest batch again ``times`` times, to tell data, state and hardware apart; nothing is changed by it.

    Needs a function that the loop has given for it (``hook.rerun_with``).
    """

    action: Literal["rerun_test"] = "rerun_test"
    times: Annotated[int, Field(ge=2, le=16)] = 2


class Halt(WireModel):
    """Stop the training with ``TrainingHalted`` and a report; nothing is restored."""

    action: Literal["halt"] = "halt"
    report: HaltReport | None = None
    """What led to it, where a ladder ended; ``None`` where a person ordered it."""


class UnknownOrder(WireModel):
    """An action that a newer service knows and this trainer does not: it is refused, by name."""

    action: str


ACTIONS: dict[str, type[WireModel]] = {
    "rollback": Rollback,
    "lower_learning_rate": LowerLearningRate,
    "rewarm_up": RewarmUp,
    "reset_moments": ResetMoments,
    "skip_data_window": SkipDataWindow,
    "skip_update": SkipUpdate,
    "skip_batch": SkipBatch,
    "tighten_clipping": TightenClipping,
    "loosen_clipping": LoosenClipping,
    "scale_learning_rate": ScaleLearningRate,
    "set_loss_scale": SetLossScale,
    "pause": Pause,
    "resume": Resume,
    "save_now": SaveNow,
    "rerun_test": RerunTest,
    "halt": Halt,
}
"""The closed set of actions, by the name that travels."""


def _tag_of_order(value: Any) -> str:
    action = value.get("action") if isinstance(value, dict) else getattr(value, "action", None)
    return action if isinstance(action, str) and action in ACTIONS else "unknown"


Order = Annotated[
    Union[
        Annotated[Rollback, Tag("rollback")],
        Annotated[LowerLearningRate, Tag("lower_learning_rate")],
        Annotated[RewarmUp, Tag("rewarm_up")],
        Annotated[ResetMoments, Tag("reset_moments")],
        Annotated[SkipDataWindow, Tag("skip_data_window")],
        Annotated[SkipUpdate, Tag("skip_update")],
        Annotated[SkipBatch, Tag("skip_batch")],
        Annotated[TightenClipping, Tag("tighten_clipping")],
        Annotated[LoosenClipping, Tag("loosen_clipping")],
        Annotated[ScaleLearningRate, Tag("scale_learning_rate")],
        Annotated[SetLossScale, Tag("set_loss_scale")],
        Annotated[Pause, Tag("pause")],
        Annotated[Resume, Tag("resume")],
        Annotated[SaveNow, Tag("save_now")],
        Annotated[RerunTest, Tag("rerun_test")],
        Annotated[Halt, Tag("halt")],
        Annotated[UnknownOrder, Tag("unknown")],
    ],
    Discriminator(_tag_of_order),
]
"""One of the actions with its parameters; an unknown one is kept by name so that it can be refused."""


class Command(WireModel):
    """Orders that belong together, and the fence around them."""

    command_id: UUID
    incident_id: UUID | None = None
    decision_id: UUID | None = None
    attempt: Attempt
    """The attempt it was decided for."""
    revision: Revision
    """The revision it was decided on."""
    orders: Annotated[tuple[Order, ...], Field(min_length=1, max_length=16)]
    issued_at: UnixTime
    expires_at: UnixTime
    """By the issuer's clock; a trainer corrects it by the receipt's ``server_time``."""
    issued_by: Annotated[str, Field(max_length=200)] = "policy"
    reason: Sentence = ""

    @property
    def action(self) -> str:
        """The name of the first order, which stands for the whole."""
        first: BaseModel = self.orders[0]
        return str(getattr(first, "action"))  # noqa: B009 - the union's members share no typed base with it
