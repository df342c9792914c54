"""What goes wrong. Data goes wrong at a position of the stream, code at a step, hardware once in the run's life.

That difference decides what a rollback can do: the step comes again, the batch and the cosmic ray do not.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.recovery.workloads import Training
from benchmarks.recovery.workloads.base import Factor, Tensors
from benchmarks.recovery.workloads.char_gpt import BATCH, CONTEXT, prose
from examples.char_gpt.corpus import batch_of


@dataclass(frozen=True)
class Fault:
    """Everything left at its default changes nothing."""

    rate_factor: Factor = lambda step: 1.0
    spoil_batch: Callable[[int, Tensors], Tensors] = lambda position, tensors: tensors
    spoil_loss: Callable[[int, Tensor], Tensor] = lambda position, loss: loss
    strike: Callable[[int, int, Training], None] = lambda made, step, training: None
    """Called before every iteration with how many were made (which never goes back) and the step."""


def rate_times(factor: float, onset: int) -> Fault:
    return Fault(rate_factor=lambda step: factor if step >= onset else 1.0)


def rate_grows(gamma: float, onset: int, limit: float) -> Fault:
    """An exponential schedule with the wrong sign in its exponent, and a limit that nobody thought to be reached."""
    return Fault(rate_factor=lambda step: min(limit, gamma ** max(0, step - onset)))


def without_warm_up(warm_up: int) -> Fault:
    return Fault(rate_factor=lambda step: warm_up / (step + 1) if step < warm_up else 1.0)


def _data(change: Callable[[Tensors], Tensors], onset: int, length: int) -> Fault:
    return Fault(spoil_batch=lambda at, tensors: change(tensors) if onset <= at < onset + length else tensors)


def raw_pixels(onset: int, length: int) -> Fault:
    """A shard that was written without normalisation, with the sign of another library."""
    return _data(lambda tensors: (tensors[0] * -255.0, tensors[1]), onset, length)


def slipped_targets(onset: int, length: int) -> Fault:
    """Inputs and targets have slipped by one row: every token is valid, every row is nonsense."""
    return _data(lambda tensors: (tensors[0], tensors[1].roll(1, dims=0)), onset, length)


def nan_batch(onset: int) -> Fault:
    """One value of one batch is NaN, as a division by an empty count leaves it."""

    def poison(tensors: Tensors) -> Tensors:
        inputs = tensors[0].clone()
        inputs.view(-1)[0] = math.nan
        return (inputs, *tensors[1:])

    return _data(poison, onset, 1)


def overflowing_batches(onset: int, length: int) -> Fault:
    """Inputs in the unit of another instrument: beyond what half precision holds."""
    return _data(lambda tensors: (tensors[0] * 1e5, *tensors[1:]), onset, length)


def inf_in_loss(onset: int) -> Fault:
    """A second loss term takes the logarithm of a probability that is 0, once."""

    def add(position: int, loss: Tensor) -> Tensor:
        return loss - 0.01 * torch.log(loss * 0.0) if position == onset else loss

    return Fault(spoil_loss=add)


def flipped_bit_in_weight(onset: int) -> Fault:
    """The highest bit of the exponent of the largest matrix's largest weight."""

    def strike(made: int, step: int, training: Training) -> None:
        if made == onset:
            flip_exponent_bit(max(training.parameters(), key=lambda parameter: parameter.numel()).data)

    return Fault(strike=strike)


def flipped_bit_in_moment(onset: int) -> Fault:
    """The same of Adam's first moments of that matrix."""

    def strike(made: int, step: int, training: Training) -> None:
        if made == onset:
            largest = max(training.parameters(), key=lambda parameter: parameter.numel())
            flip_exponent_bit(training.optimizers[0].state[largest]["exp_avg"])

    return Fault(strike=strike)


def flip_exponent_bit(tensor: Tensor) -> None:
    """Flip bit 30 of the largest element of a float32 tensor: 0.02 becomes 6.8e36.

    An element that counts: behind a pixel that is always black, a weight may be anything.

    >>> weights = torch.tensor([0.01, 0.02, -0.005])
    >>> flip_exponent_bit(weights)
    >>> weights[0].item() < 1, weights[1].item() > 1e36
    (True, True)
    """
    bits = tensor.view(-1).view(torch.int32)
    bits[tensor.abs().argmax()] ^= 1 << 30


def moments_lost(onset: int) -> Fault:
    """A restart from a file that holds the weights only: the optimizer begins anew, at the full rate."""

    def strike(made: int, step: int, training: Training) -> None:
        if made == onset:
            for optimizer in training.optimizers:
                optimizer.state.clear()

    return Fault(strike=strike)


def mixed_with_prose(onset: int) -> Fault:
    """A new mix of data: every second row is prose from here on. The loss rises to stay, and nothing is wrong."""

    def mix(position: int, tensors: Tensors) -> Tensors:
        if position < onset:
            return tensors
        generator = torch.Generator().manual_seed(77_000_000 + position)
        mixed = tuple(part.clone() for part in tensors)
        for part, new in zip(mixed, batch_of(prose(), generator, BATCH // 2, CONTEXT)):
            part[::2] = new
        return mixed

    return Fault(spoil_batch=mix)


def repeated_text(onset: int) -> Fault:
    """An easier mix: every second row repeats its first eight characters from here on."""

    def ease(position: int, tensors: Tensors) -> Tensors:
        if position < onset:
            return tensors
        inputs, targets = (part.clone() for part in tensors)
        length = inputs.shape[1]
        repeated = inputs[::2, :8].repeat(1, length // 8 + 2)
        inputs[::2], targets[::2] = repeated[:, :length], repeated[:, 1 : length + 1]
        return inputs, targets

    return Fault(spoil_batch=ease)


def growing_output(gamma: float, onset: int) -> Fault:
    """A forward pass with a bug: from ``onset`` on, the output is scaled by a factor that grows with the step."""

    def strike(made: int, step: int, training: Training) -> None:
        if made == 0:
            kept = training.forward
            # Kept by step: the bug is in the code, so it is there again after every rollback.
            training.forward = lambda tensors: kept(tensors) * training.forward_scale
        training.forward_scale = gamma ** max(0, step - onset)

    return Fault(strike=strike)


def never_finite() -> Fault:
    """A model whose loss is NaN from the first step on: no rate and no data can help it."""
    return Fault(spoil_loss=lambda position, loss: loss * math.nan)
