"""The demo's protected training, smaller, in lock-step: a line is told per step, and the next waits for a line.

python -m tests.whole.gated_training http://127.0.0.1:8321 checkpoints/
"""

from __future__ import annotations

import json
import logging
import sys

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

import client_hook
from examples.char_gpt.corpus import VOCABULARY_SIZE, read_corpus
from examples.char_gpt.faults import FAULTS
from examples.char_gpt.model import Shape
from examples.char_gpt.training import Progress, Recipe, train

RECIPE = Recipe(
    steps=240,
    peak_rate=1e-2,
    warm_up_steps=20,
    evaluate_every=80,
    validation_batches=8,
    shape=Shape(VOCABULARY_SIZE, context=32, width=48, heads=2, blocks=1),
)
FAULT = FAULTS["lr-bug"](RECIPE.steps, RECIPE.batch_size)
CORPUS_CHARACTERS = 700_000


def main(server: str, checkpoints: str) -> None:
    """Train; each step is told as JSON with its attempt."""
    hooks: list[client_hook.TrainingHook] = []
    attempt = 0

    def attach(model: nn.Module, optimizer: Optimizer, scheduler: LambdaLR) -> client_hook.TrainingHook:
        hook = client_hook.attach(
            model,
            optimizer,
            run="gated",
            project="tests",
            server=server,
            mode="act",
            scheduler=scheduler,
            checkpoints=checkpoints,
            checkpoint_every=20,
        )
        hooks.append(hook)
        return hook

    def watch(progress: Progress) -> None:
        nonlocal attempt
        _tell({"attempt": attempt, "step": progress.step})
        attempt = hooks[0].attempt
        sys.stdin.readline()

    record = train(RECIPE, read_corpus(CORPUS_CHARACTERS), fault=FAULT, attach=attach, watch=watch)
    _tell({"run_id": str(hooks[0].run_id), "final_loss": record.final_loss, "halted": record.halted})


def _tell(facts: dict[str, object]) -> None:
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    torch.set_num_threads(1)
    main(sys.argv[1], sys.argv[2])
