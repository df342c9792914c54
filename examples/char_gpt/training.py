"""The one training function: the same loop for the healthy twin, the unprotected and the protected run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from client_hook import StepOutcome, TrainingHalted, TrainingHook
from examples.char_gpt.corpus import VOCABULARY_SIZE, BatchStream, Corpus
from examples.char_gpt.faults import Fault
from examples.char_gpt.model import CharGPT, Shape, loss_of

VALIDATION_SEED = 1_000_000
"""Far from every training seed, so that the validation batches are the same for all of them."""

Attach = Callable[[nn.Module, Optimizer, LambdaLR], TrainingHook]


@dataclass(frozen=True)
class Recipe:
    """All that a training needs to be repeated; the default takes less than half a minute on two cores."""

    steps: int = 600
    seed: int = 1
    batch_size: int = 32
    peak_rate: float = 5e-3
    warm_up_steps: int = 40
    evaluate_every: int = 50
    validation_batches: int = 24
    shape: Shape = field(default_factory=lambda: Shape(vocabulary=VOCABULARY_SIZE))

    def __post_init__(self) -> None:
        if self.steps < 2 * self.warm_up_steps:
            raise ValueError(
                f"steps={self.steps} leaves nothing after the warm-up; use {2 * self.warm_up_steps} or more"
            )


@dataclass(frozen=True)
class Progress:
    """What the training tells whoever watches it, once per step made."""

    made: int
    step: int
    loss: float
    outcome: StepOutcome | None = None
    """The hook's answer, where there is a hook."""


@dataclass
class TrainingRecord:
    """What came of a training. ``losses`` and ``rates`` hold one number per step made, in the order of time."""

    steps: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    """The rates that were applied: the schedule's, times the hook's multiplier (a re-warm-up aside)."""
    evaluations: dict[int, float] = field(default_factory=dict)
    """Validation loss by number of steps finished; a rollback overwrites what it made anew."""
    final_loss: float = math.nan
    halted: str = ""
    """Why the hook ended the training, where it did."""


def schedule_of(recipe: Recipe, fault: Fault | None) -> Callable[[int], float]:
    """Linear warm-up, then a cosine down to a tenth; times what the fault makes of it."""

    def factor(step: int) -> float:
        warm_up = min(1.0, (step + 1) / recipe.warm_up_steps)
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, step / recipe.steps)))
        return warm_up * (0.1 + 0.9 * cosine) * (fault.rate_factor(step) if fault is not None else 1.0)

    return factor


@torch.no_grad()
def validation_loss(model: nn.Module, text: Tensor, recipe: Recipe, batches: int | None = None) -> float:
    """Mean loss in nats per character over batches that are the same at every call."""
    stream = BatchStream(text, seed=VALIDATION_SEED, batch_size=recipe.batch_size, context=recipe.shape.context)
    model.eval()
    losses = [
        loss_of(model, *stream.at(position)).item()
        for position in range(recipe.validation_batches if batches is None else batches)
    ]
    model.train()
    return sum(losses) / len(losses)


def train(
    recipe: Recipe,
    corpus: Corpus,
    *,
    fault: Fault | None = None,
    attach: Attach | None = None,
    watch: Callable[[Progress], None] = lambda progress: None,
) -> TrainingRecord:
    """Train one model from the recipe's seed, with or without a fault, with or without the hook."""
    torch.manual_seed(recipe.seed)
    model = CharGPT(recipe.shape)
    optimizer = AdamW(model.parameters(), lr=recipe.peak_rate, betas=(0.9, 0.95), weight_decay=0.1)
    scheduler = LambdaLR(optimizer, schedule_of(recipe, fault))
    stream = BatchStream(
        corpus.training,
        seed=recipe.seed,
        batch_size=recipe.batch_size,
        context=recipe.shape.context,
        corruption=fault.corruption if fault is not None else None,
    )
    record = TrainingRecord()
    try:
        with attach(model, optimizer, scheduler) if attach is not None else nullcontext() as hook:
            _loop(recipe, corpus, model, optimizer, scheduler, stream, hook, record, watch)
    except TrainingHalted as halted:
        record.halted = str(halted)
    record.final_loss = validation_loss(model, corpus.validation, recipe)
    return record


def _loop(
    recipe: Recipe,
    corpus: Corpus,
    model: nn.Module,
    optimizer: Optimizer,
    scheduler: LambdaLR,
    stream: BatchStream,
    hook: TrainingHook | None,
    record: TrainingRecord,
    watch: Callable[[Progress], None],
) -> None:
    batches = iter(hook.batches(stream) if hook is not None else stream)
    steps: Iterable[int] = hook.steps(recipe.steps) if hook is not None else range(recipe.steps)
    for step in steps:
        inputs, targets = next(batches)
        loss = loss_of(model, inputs, targets)
        loss.backward()  # type: ignore[no-untyped-call]
        if hook is not None:
            hook.clip_grad_norm_(1.0)
        else:
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        rate = optimizer.param_groups[0]["lr"] * (hook.lr_scale if hook is not None else 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        outcome = hook.observe(loss) if hook is not None else None

        record.steps.append(step)
        record.losses.append(loss.item())
        record.rates.append(rate)
        finished = step + 1
        if finished % recipe.evaluate_every == 0 and (outcome is None or not outcome.rolled_back):
            # A third of the batches is enough for the curve; the figures that are compared use all of them.
            value = validation_loss(model, corpus.validation, recipe, max(1, recipe.validation_batches // 3))
            record.evaluations[finished] = value
            if hook is not None:
                hook.evaluated(val_loss=value)
        watch(Progress(made=len(record.losses), step=step, loss=record.losses[-1], outcome=outcome))
