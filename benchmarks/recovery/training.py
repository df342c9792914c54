"""One training, whole: a workload, a fault, a strategy and a seed; and what came of it."""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer

from benchmarks.recovery.faults import Fault
from benchmarks.recovery.strategies import STRATEGIES, Account
from benchmarks.recovery.workloads import WORKLOADS, Stream, Training
from benchmarks.recovery.workloads.base import Factor, MayUpdate

LONGEST = 4
"""Times the step budget: a strategy that goes back again and again ends there."""


@dataclass
class Record:
    """What came of a training; steps and losses in the order in which they were made."""

    steps: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    final: float = math.nan
    """Validation loss at the end; infinite where the training was given up."""
    nonfinite_updates: int = 0
    """Updates that an optimizer really made with a gradient that was not finite, counted by the benchmark itself."""
    checksum: str = ""
    """Of all weights at the end."""
    account: Account = field(default_factory=Account)

    def as_json(self) -> dict[str, Any]:
        document = asdict(self)
        return {**document, "losses": [float(f"{loss:.4g}") for loss in self.losses]}


def train(
    workload: str,
    *,
    seed: int,
    order: int | None = None,
    strategy: str = "none",
    fault: Fault | None = None,
    recipe_factor: Factor = lambda step: 1.0,
    in_memory: bool = False,
    folder: Path | None = None,
    around: Callable[[Training, MayUpdate], MayUpdate] = lambda training, may_update: may_update,
) -> Record:
    """Train from ``seed``; ``order`` is the seed of the data's order, by default the same.

    With ``in_memory`` a strategy that keeps checkpoints has no folder for them; otherwise ``folder``, or one of its
    own. ``around`` may stand between backward and the strategy.
    """
    kind, fault = WORKLOADS[workload], fault or Fault()
    training = kind.build(seed)
    training.schedule(lambda step: kind.factor(step) * recipe_factor(step) * fault.rate_factor(step))
    training.spoil_loss = fault.spoil_loss
    record = Record()
    _count_bad_updates(training, record)
    with tempfile.TemporaryDirectory(prefix="bench-recovery-") as own:
        chosen = STRATEGIES[strategy](training, kind.steps, None if in_memory else folder or Path(own))
        may_update = around(training, chosen.may_update)
        record.account = chosen.account
        batches = chosen.batches(Stream(training.draw, seed if order is None else order))
        for step in chosen.steps():
            fault.strike(len(record.steps), step, training)
            batch = next(batches)
            spoilt = type(batch)(batch.position, fault.spoil_batch(batch.position, batch.tensors))
            loss = training.iterate(spoilt, may_update)
            record.steps.append(step)
            record.losses.append(loss.item())
            chosen.after(step, loss)
            if chosen.account.gave_up or len(record.steps) >= LONGEST * kind.steps:
                break
        chosen.close()
    record.final = math.inf if record.account.gave_up else training.validate()
    record.checksum = checksum_of(training)
    return record


def _count_bad_updates(training: Training, record: Record) -> None:
    def count(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        record.nonfinite_updates += not all(torch.isfinite(gradient.sum()).item() for gradient in gradients)

    for optimizer in training.optimizers:
        optimizer.register_step_post_hook(count)


def checksum_of(training: Training) -> str:
    """The same for the same weights, bit for bit."""
    digest = hashlib.sha256()
    for parameter in training.parameters():
        digest.update(parameter.detach().numpy().tobytes())
    return digest.hexdigest()[:16]
