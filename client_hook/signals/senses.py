"""All signals together: the one thing the hook talks to."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer

from client_hook.signals.activations import Activations
from client_hook.signals.adam_rms import AdamRms
from client_hook.signals.base import SenseOptions, Signal, Watched
from client_hook.signals.first_nonfinite import FirstNonFinite
from client_hook.signals.gradient_norm import GradientNorm
from client_hook.signals.layers import Layers
from client_hook.signals.learning_rate import LearningRate
from client_hook.signals.loss_scale import LossScale
from client_hook.signals.nonfinite_gradients import NonFiniteGradients
from client_hook.signals.nonfinite_parameters import NonFiniteParameters
from client_hook.signals.reading import Reading, as_number, checked_name
from client_hook.signals.step_seconds import StepSeconds
from client_hook.signals.throughput import Throughput
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
    AdamRms,
    FirstNonFinite,
    Layers,
    Activations,
    StepSeconds,
    Throughput,
)
"""Every signal, in the order in which they look; a later one may use what an earlier one measured."""

MOST_SHAPES = 64
"""Sets of names for which it is remembered whom they concern."""

_NORMS = ("grad_norm", "grad_norm_clipped", "param_norm")

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
        schedulers: Sequence[object] = (),
        scaler: Any | None = None,
        clock: Callable[[], float] = time.perf_counter,
        options: SenseOptions | None = None,
        rate_factor: Callable[[], float] = lambda: 1.0,
        sharded_over: int | None = None,
        guarded: Callable[[Callable[[Any], object]], Callable[[Any], object]] = lambda look: look,
        complain: Callable[[str, str], object] = lambda kind, message: None,
    ) -> None:
        self.watched = Watched(
            model,
            tuple(optimizers),
            scaler,
            clock,
            options or SenseOptions(),
            rate_factor,
            schedulers=schedulers,
            sharded_over=sharded_over,
            guarded=guarded,
        )
        self._complain = complain
        self.signals: tuple[Signal, ...] = tuple(signal(self.watched) for signal in SIGNALS)
        self._gradient_norm = self._find(GradientNorm)
        self._update_skipped = self._find(UpdateSkipped)
        self._layers = self._find(Layers)
        # Bound once: a step asks each signal for four moments, most of which most signals leave empty.
        busy = [signal for signal in self.signals if not signal.is_idle]
        self._before = [signal.before_update for signal in busy if _has(signal, "before_update")]
        self._after = [signal.after_update for signal in busy if _has(signal, "after_update")]
        self._collect = [signal.collect for signal in busy]
        self._collect_without_update = [signal.collect for signal in busy if not signal.measures_updates_only]
        self._was_updated = False
        self._interpreters = [signal for signal in busy if _has(signal, "interpret")]
        self._concerned: dict[tuple[str, ...], list[Callable[[dict[str, float]], None]]] = {}

    def _find(self, kind: type[_S]) -> _S:
        return next(signal for signal in self.signals if isinstance(signal, kind))

    @torch.no_grad()
    def before_update(self, optimizer: Optimizer, *, has_closure: bool = False) -> None:
        """First thing in the step pre-hook: before the guard, and before the rate multiplier is applied."""
        self._was_updated = True
        self.watched.makes_gradients = has_closure or isinstance(optimizer, LBFGS)
        for look in self._before:
            look(optimizer)

    @torch.no_grad()
    def after_update(self, optimizer: Optimizer) -> None:
        """Last thing in the step post-hook: after the rate multiplier was taken off."""
        for look in self._after:
            look(optimizer)

    def norm_seen(self, norm: Tensor | float, of: frozenset[int] | None = None) -> None:
        """The norm of the unscaled gradients before clipping, told by who clips: of all, or of those with these ids."""
        self._gradient_norm.told(as_number("grad_norm", norm), of)

    def gradient_norm_tensor(self, optimizer: Optimizer) -> Tensor | None:
        """This step's measured norm as a 0-dim tensor on its device; ``None`` before it, or without gradients."""
        return self.watched.gradient_norms.get(id(optimizer))

    def mark_skipped(self, skipped: Tensor | bool = True) -> None:
        """The guard kept this step's update away; a 0-dim flag where only the device knows."""
        self._update_skipped.mark(skipped)

    def reading(self, loss: Any, extra: Mapping[str, Any] | None = None) -> Reading:
        """Everything measured since the last call, with the user's loss and numbers, which win over ours.

        What is not one real number, or has a name that cannot be sent, is left out and complained about: a slip of
        the user's, who shall not lose the rest of what is measured by it.
        """
        # No `torch.no_grad` here, at 2 µs: what was measured has no graph, and what is given is detached.
        values: dict[str, Tensor | float] = {}
        collects = self._collect if self._was_updated else self._collect_without_update
        self._was_updated = False
        for collect in collects:
            values |= collect()
        given: dict[str, Tensor | float] = {}
        if loss is not None:
            try:
                given["loss"] = loss if type(loss) is float else as_number("loss", loss)
            except Exception as error:
                self.unusable("loss", error)
        if extra:
            for name, value in extra.items():
                try:
                    given[checked_name(name)] = value if type(value) is float else as_number(name, value)
                except Exception as error:
                    self.unusable(name, error)
        whole = {**given, **values}
        if len(whole) < len(given) + len(values):
            whole |= given
        return Reading(whole)

    def unusable(self, name: str, error: Exception) -> None:
        """Say that a number of the user's is left out."""
        self._complain(f"signal {name[:120]}", f"left out of what is observed: {error}")

    def read(self, reading: Reading) -> dict[str, float]:
        """The numbers, rightly labelled. Call it once per reading, in step order."""
        values = reading.wait()
        watched, watched.alarmed = self.watched, False
        for name in _NORMS:
            if name in values and not math.isfinite(values[name]):
                watched.alarmed = True
        for interpret in self._interpreting(tuple(values)):
            interpret(values)
        return values

    def _interpreting(self, names: tuple[str, ...]) -> list[Callable[[dict[str, float]], None]]:
        """The signals that a step with these names concerns; a training has three or four sets of them."""
        concerned = self._concerned.get(names)
        if concerned is None:
            if len(self._concerned) >= MOST_SHAPES:
                self._concerned.clear()
            concerned = self._concerned[names] = [
                signal.interpret
                for signal in self._interpreters
                if signal.concerned is None or not signal.concerned.isdisjoint(names)
            ]
        return concerned

    def label(self, values: dict[str, float]) -> None:
        """Of a sharded model, once its norms are whole: decide what the measured gradient norm is to be called."""
        self._gradient_norm.label(values)

    def take_remarks(self) -> list[str]:
        """Sentences about what was read since the last call; mostly none."""
        if not self.watched.remarks:
            return []
        remarks, self.watched.remarks = self.watched.remarks, []
        return remarks

    def look_closely(self) -> None:
        """Something was found: measure every layer at the next step."""
        self._layers.look_soon()

    def forget_step(self) -> None:
        """After a rollback or restart put the model back: what was measured so far belongs to no step."""
        for signal in self.signals:
            signal.forget_step()

    def close(self) -> None:
        """Take off whatever was hung on the model."""
        for signal in self.signals:
            signal.close()


def _has(signal: Signal, moment: str) -> bool:
    return getattr(type(signal), moment) is not getattr(Signal, moment)
