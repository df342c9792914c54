"""The re-run test: the same step again from a memory snapshot, which tells data, state and hardware apart.

The same forward and backward pass is made twice from the same parameters, buffers and random streams. Where the two
differ in a single bit, the machine or a non-deterministic kernel is at work. Where they agree and the batch is bad,
it is made once more with the parameters of an older confirmed checkpoint: a batch that is bad there too is bad data;
one that is well there met a bad state. (MegaScale and Llama 3 name silent data corruption as a cause of loss spikes;
the test is the cheap half of what they do by exchanging machines.)

Whatever happens, everything is put back afterwards bit for bit: parameters, buffers, random streams and the very
gradient tensors, and what a scaler counts. Optimizers and schedules are not touched: a function that steps one is
stopped.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from client_hook.recovery.model_tensors import ModelTensors, capture_model, restore_model
from client_hook.recovery.optimizer_state import parameters_of
from client_hook.recovery.random_streams import capture_random, restore_random
from client_hook.recovery.snapshot import Snapshot, TrainingState
from client_hook.recovery.verification import checksum_of_tensors

StepFunction = Callable[[], Any]
"""Forward and backward of one batch; returns the loss. It steps nothing, and draws no new batch."""

Verdict = Literal["differs", "data", "state", "data or state", "well", "not run"]
"""differs: hardware or non-determinism; data, state: what was found; well: this batch does no harm now."""

ROUNDING = 1e-3
"""Gradients that differ by less of their size differ as reordered sums do."""
BANDS = 8.0
RISE = 0.5
"""A loss is bad from so many bands above its healthy center on, and from this share of it."""
WORSE = 1.5
"""Where no healthy level is known: a loss so many times that of the older checkpoint is bad."""


@dataclass(frozen=True)
class RerunOutcome:
    """One forward and backward pass."""

    loss: float
    grad_norm: float
    checksum: str
    """SHA-256 over the loss and every gradient, bit for bit."""

    @property
    def is_finite(self) -> bool:
        """Whether loss and gradients are numbers."""
        return isfinite(self.loss) and isfinite(self.grad_norm)


@dataclass(frozen=True)
class RerunReport:
    """What a re-run test found."""

    verdict: Verdict
    sentence: str
    """What it means and what to do, for a person."""
    runs: tuple[RerunOutcome, ...] = ()
    """From the present state; bit for bit the same unless ``differs``."""
    difference: float | None = None
    """The largest difference between gradients of two runs, over the largest gradient; ``None`` if unknown."""
    older: RerunOutcome | None = None
    """The same batch with the parameters of an older checkpoint."""
    older_step: int | None = None


@dataclass(frozen=True)
class HealthyLevel:
    """Center and width of the healthy loss, as the detectors know them."""

    center: float
    band: float

    @property
    def limit(self) -> float:
        """Above it a loss is bad."""
        return self.center + max(BANDS * self.band, RISE * abs(self.center))


def rerun(
    state: TrainingState,
    step_function: StepFunction,
    *,
    times: int = 2,
    older: Callable[[], tuple[int, Snapshot] | None] = lambda: None,
    level: HealthyLevel | None = None,
) -> RerunReport:
    """Make the step again and say what is behind its trouble.

    Args:
        state: the training; it is as before when this returns or raises.
        step_function: see `StepFunction`.
        times: runs from the present state, at least 2.
        older: gives the step and the snapshot of an older checkpoint, or ``None``; asked only where it matters.
        level: the healthy loss, where it is known.

    Raises:
        BaseException: what is no ``Exception`` (an interrupt) passes through, after all was put back. An ``Exception``
            means that it could not be put back.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(_untouched(state))
        except Exception as error:
            sentence = f"The training could not be copied first ({type(error).__name__}: {error}); nothing was tried."
            return RerunReport("not run", sentence)
        try:
            present = capture_model(state.model, None)
            again = _Again(state, step_function, capture_random())
            first, gradients = again.run(present)
            runs, difference = [first], 0.0
            for _ in range(max(times, 2) - 1):
                other, others = again.run(present)
                runs.append(other)
                if other.checksum != first.checksum:
                    difference = max(difference, _difference(gradients, others))
            if any(one.checksum != first.checksum for one in runs):
                return RerunReport("differs", _it_differs(runs, difference), tuple(runs), difference)
            return _repeated(again, runs, older, level)
        except Exception as error:
            return RerunReport(
                "not run",
                f"The step could not be made again ({type(error).__name__}: {error}). The function must make one "
                "forward and backward pass of a batch it already has, return the loss, and step nothing.",
            )


def _repeated(
    again: _Again,
    runs: list[RerunOutcome],
    older: Callable[[], tuple[int, Snapshot] | None],
    level: HealthyLevel | None,
) -> RerunReport:
    first, made = runs[0], tuple(runs)
    repeats = f"The step repeats bit for bit (loss {first.loss:.6g}), so the machine is sound in it"
    is_bad = not first.is_finite or (level is not None and first.loss > level.limit)
    if level is not None and not is_bad:
        sentence = (
            f"{repeats}, and it does no harm: the healthy loss is {level.center:.4g}. What went wrong has passed, or "
            "it lay in the state of that moment; repeat the test from a checkpoint of that time."
        )
        return RerunReport("well", sentence, made, 0.0)
    found = older()
    if found is None:
        if not is_bad:
            return RerunReport("well", f"{repeats}; no healthy level is known to judge it by.", made, 0.0)
        sentence = f"{repeats}: it is the data or the state. No older confirmed checkpoint is there to tell which."
        return RerunReport("data or state", sentence, made, 0.0)
    step, snapshot = found
    then, _ = again.run(snapshot.model)
    is_bad = is_bad or (level is None and then.is_finite and first.loss > WORSE * abs(then.loss))
    if not is_bad:
        return RerunReport("well", f"{repeats}; step {step} gives the same kind of loss.", made, 0.0, then, step)
    limit = level.limit if level is not None else None
    bad_then = not then.is_finite or (limit is not None and then.loss > limit)
    there = f"with the parameters of step {step} its loss is {then.loss:.6g}"
    if bad_then:
        sentence = f"{repeats}. It is the data: {there} as well. Look at this batch, and pass over it."
        return RerunReport("data", sentence, made, 0.0, then, step)
    sentence = f"{repeats}. It is the state, not the data: {there}. Roll back to before the onset."
    return RerunReport("state", sentence, made, 0.0, then, step)


def _it_differs(runs: list[RerunOutcome], difference: float) -> str:
    losses = ", ".join(f"{one.loss:.9g}" for one in runs)
    if difference < ROUNDING and all(one.is_finite for one in runs):
        return (
            f"The same step gave different numbers (losses {losses}; gradients differ by {difference:.2g} of their "
            "size): as much as reordered sums do. Set torch.use_deterministic_algorithms(True) and test again; what "
            "still differs then is hardware."
        )
    return (
        f"The same step gave different numbers (losses {losses}; gradients differ by {difference:.2g} of their size): "
        "more than rounding does. See first that the function takes the same batch each time, none anew from the "
        "loader, and draws from no random stream of its own. Suspect the hardware then (test "
        "another machine, read its ECC errors), a race, or memory that was never filled."
    )


class _Again:
    """Makes the step from given parameters and from the same random numbers."""

    def __init__(self, state: TrainingState, step_function: StepFunction, streams: dict[str, Any]) -> None:
        self._state = state
        self._function = step_function
        self._streams = streams

    @torch.no_grad()
    def _begin(self, tensors: ModelTensors) -> None:
        restore_model(self._state.model, tensors)
        restore_random(self._streams)
        self._state.clear_gradients()

    def run(self, tensors: ModelTensors) -> tuple[RerunOutcome, list[tuple[str, Tensor]]]:
        self._begin(tensors)
        with _no_steps(self._state), _unscaled_anew(self._state.scaler):
            loss = self._function()
        if loss is None:
            raise ValueError("it returned no loss")
        value = loss.detach().float().cpu() if isinstance(loss, Tensor) else torch.tensor(float(loss))
        if value.numel() != 1:
            raise ValueError(f"it returned {value.numel()} losses instead of one")
        gradients = list(_gradients(self._state))
        if not gradients:
            raise ValueError("it left no gradients; it must call loss.backward()")
        squares = sum(float(gradient.detach().double().square().sum()) for _, gradient in gradients)
        checksum = checksum_of_tensors([("loss", value.reshape(1)), *gradients])
        return RerunOutcome(float(value), squares**0.5 if squares >= 0 else float("nan"), checksum), gradients


def _gradients(state: TrainingState) -> Iterator[tuple[str, Tensor]]:
    for index, parameter in enumerate(_parameters(state.model, state.optimizers)):
        if parameter.grad is not None:
            gradient = parameter.grad.detach()
            yield str(index), gradient.to_dense() if gradient.layout != torch.strided else gradient


def _parameters(model: nn.Module, optimizers: list[Optimizer]) -> list[Tensor]:
    owned = [parameter for optimizer in optimizers for parameter in parameters_of(optimizer)]
    return list({id(one): one for one in [*model.parameters(), *owned]}.values())


def _difference(first: list[tuple[str, Tensor]], second: list[tuple[str, Tensor]]) -> float:
    largest = apart = 0.0
    for (_, one), (_, other) in zip(first, second):
        if one.shape != other.shape or not one.numel():
            continue
        largest = max(largest, float(one.double().abs().nan_to_num(0.0, 0.0, 0.0).max()))
        apart = max(apart, float((one.double() - other.double()).abs().nan_to_num(float("inf")).max()))
    return apart / largest if largest else apart


@contextmanager
def _untouched(state: TrainingState) -> Iterator[None]:
    """Parameters, buffers, random streams and gradients as they were, whatever happens inside."""
    model = capture_model(state.model, None)
    streams = capture_random()
    gradients = [(parameter, parameter.grad) for parameter in _parameters(state.model, state.optimizers)]
    modes = [(module, module.training) for module in state.model.modules()]
    scale = state.scaler.state_dict() if state.scaler is not None else {}
    try:
        yield
    finally:
        with torch.no_grad():
            restore_model(state.model, model)
        restore_random(streams)
        for parameter, gradient in gradients:
            parameter.grad = gradient
        for module, training in modes:
            module.training = training
        if state.scaler is not None and str(state.scaler.state_dict()) != str(scale):
            state.scaler.load_state_dict(scale)


@contextmanager
def _no_steps(state: TrainingState) -> Iterator[None]:
    """No update while the step is made again: the second run would begin elsewhere than the first."""

    def refusing(kind: str) -> Callable[..., None]:
        def refuse(*args: Any, **kwargs: Any) -> None:
            raise RuntimeError(f"it called {kind}.step()")

        return refuse

    kinds = [(one, "optimizer") for one in state.optimizers] + [(one, "scheduler") for one in state.schedulers]
    found = [(vars(one), vars(one).get("step"), kind) for one, kind in kinds if hasattr(one, "__dict__")]
    for attributes, _, kind in found:
        attributes["step"] = refusing(kind)
    try:
        yield
    finally:
        for attributes, step, _ in found:
            if step is None:
                del attributes["step"]
            else:
                attributes["step"] = step


@contextmanager
def _unscaled_anew(scaler: Any) -> Iterator[None]:
    """A function that unscales (``hook.clip_grad_norm_`` does) finds nothing unscaled, and leaves no mark of it.

    With one, the loop's next step would take its gradients for unscaled and use them as they are.
    """
    marks = getattr(scaler, "_per_optimizer_states", None)
    if not isinstance(marks, defaultdict):
        yield
        return
    scaler._per_optimizer_states = defaultdict(marks.default_factory)
    try:
        yield
    finally:
        scaler._per_optimizer_states = marks
