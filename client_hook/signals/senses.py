"""All signals together: the one thing the hook talks to."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from client_hook.signals.base import Signal, Watched
from client_hook.signals.gradient_norm import GradientNorm
from client_hook.signals.learning_rate import LearningRate
from client_hook.signals.loss_scale import LossScale
from client_hook.signals.nonfinite_gradients import NonFiniteGradients
from client_hook.signals.nonfinite_parameters import NonFiniteParameters
from client_hook.signals.reading import Reading, as_number, checked_name
from client_hook.signals.step_seconds import StepSeconds
from client_hook.signals.update_ratio import UpdateRatio
from client_hook.signals.update_skipped import UpdateSkipped

SIGNALS: tuple[type[Signal], ...] = (
    GradientNorm,
    UpdateRatio,
    LearningRate,
    NonFiniteGradients,
    NonFiniteParameters,
    LossScale,
    UpdateSkipped,
    StepSeconds,
)
"""Every signal, in the order in which they look; a later one may use what an earlier one measured."""

_S = TypeVar("_S", bound=Signal)


class Senses:
    """Measures one optimizer step; the hook calls it at the moments named below, on the training thread.

    ``before_update`` → (guard, rate multiplier, the update itself) → ``after_update``, for each optimizer that
    is stepped; then ``reading`` in ``observe``, and ``read`` for the numbers: at once on the CPU, one step
    later on CUDA. Nothing here changes what it looks at.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizers: Sequence[Optimizer],
        *,
        scaler: Any | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.watched = Watched(model, tuple(optimizers), scaler, clock)
        self.signals: tuple[Signal, ...] = tuple(signal(self.watched) for signal in SIGNALS)
        self._gradient_norm = self._find(GradientNorm)
        self._update_skipped = self._find(UpdateSkipped)

    def _find(self, kind: type[_S]) -> _S:
        return next(signal for signal in self.signals if isinstance(signal, kind))

    @torch.no_grad()
    def before_update(self, optimizer: Optimizer) -> None:
        """First thing in the step pre-hook: before the guard, and before the rate multiplier is applied."""
        for signal in self.signals:
            signal.before_update(optimizer)

    @torch.no_grad()
    def after_update(self, optimizer: Optimizer) -> None:
        """Last thing in the step post-hook: after the rate multiplier was taken off."""
        for signal in self.signals:
            signal.after_update(optimizer)

    def norm_seen(self, norm: Tensor | float) -> None:
        """The global norm of the unscaled gradients before clipping, told by who clips."""
        self._gradient_norm.told(as_number("grad_norm", norm))

    def gradient_norm_tensor(self, optimizer: Optimizer) -> Tensor | None:
        """This step's measured norm as a 0-dim tensor on its device; ``None`` before it, or without gradients."""
        return self.watched.gradient_norms.get(id(optimizer))

    def gradients_are_finite(self, optimizer: Optimizer) -> bool:
        """Whether this step's norm is finite: true also where there is no gradient. A host read: on CUDA it waits."""
        norm = self.gradient_norm_tensor(optimizer)
        return norm is None or math.isfinite(norm.item())

    def mark_skipped(self, skipped: Tensor | bool = True) -> None:
        """The guard kept this step's update away; a 0-dim flag where only the device knows."""
        self._update_skipped.mark(skipped)

    @torch.no_grad()
    def reading(self, loss: Any, extra: Mapping[str, Any] | None = None) -> Reading:
        """Everything measured since the last call, with the user's loss and numbers, which win over ours.

        Raises
        ------
        TypeError
            Where the loss or an extra is not one real number, or has a name that cannot be sent. What was
            measured is forgotten all the same, so the next step is not mixed with this one.
        """
        values: dict[str, Tensor | float] = {}
        for signal in self.signals:
            values.update(signal.collect())
        given: dict[str, Tensor | float] = {} if loss is None else {"loss": as_number("loss", loss)}
        for name, value in (extra or {}).items():
            given[checked_name(name)] = as_number(name, value)
        return Reading({**given, **{name: value for name, value in values.items() if name not in given}})

    def read(self, reading: Reading) -> dict[str, float]:
        """The numbers, rightly labelled. Call it once per reading, in step order."""
        values = reading.wait()
        for signal in self.signals:
            signal.interpret(values)
        norms = (values.get(name) for name in ("grad_norm", "grad_norm_clipped", "param_norm"))
        self.watched.alarmed = any(norm is not None and not math.isfinite(norm) for norm in norms)
        return values

    def forget_step(self) -> None:
        """After a rollback or restart put the model back: what was measured so far belongs to no step."""
        for signal in self.signals:
            signal.forget_step()
