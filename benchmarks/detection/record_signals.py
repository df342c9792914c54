"""Records healthy trainings of the example's GPT with everything that the hook reads by default.

``python -m benchmarks.detection.record_signals`` writes one JSON line per observation to
``tests/detectors/recorded/signals``; the detectors must be silent on them, and the panel's cost is measured on them.
"""

from __future__ import annotations

import gzip
import json
import math
import tempfile
from collections.abc import Callable

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

import client_hook
from benchmarks.detection.record import RECORDED, WARM_UP
from client_hook.local_brain import LocalBrain
from examples.char_gpt.corpus import VOCABULARY_SIZE, BatchStream, Corpus, read_corpus
from examples.char_gpt.model import CharGPT, Shape, loss_of
from trainguard.wire import Finding, Observation

STEPS = 500
EVALUATE_EVERY = 100

OPTIMIZERS: dict[str, tuple[Callable[[nn.Module], Optimizer], int]] = {
    "adamw": (lambda model: AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.95), weight_decay=0.1), 16),
    "adamw_batches_of_4": (lambda model: AdamW(model.parameters(), lr=1e-3), 4),
    "sgd": (lambda model: SGD(model.parameters(), lr=0.1, momentum=0.9), 16),
}
"""By name of the recording: the optimizer and the size of a batch."""


class _Ear(LocalBrain):
    """A brain that keeps what it is shown."""

    def _watch(self, observation: Observation) -> list[Finding]:
        heard.append(observation)
        return super()._watch(observation)


heard: list[Observation] = []


def record(name: str, corpus: Corpus) -> list[Observation]:
    """Train for some hundred steps, and return every observation that the detectors were shown."""
    make, batch_size = OPTIMIZERS[name]
    torch.manual_seed(1)
    shape = Shape(vocabulary=VOCABULARY_SIZE)
    model = CharGPT(shape)
    optimizer = make(model)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(1.0, (step + 1) / WARM_UP) * (0.55 + 0.45 * math.cos(math.pi * step / STEPS)),
    )
    batches = BatchStream(corpus.training, seed=1, batch_size=batch_size, context=shape.context)
    heard.clear()
    with (
        tempfile.TemporaryDirectory() as folder,
        client_hook.attach(
            model, optimizer, run=name, mode="observe", scheduler=schedule, checkpoints=folder, synchronous=True
        ) as hook,
    ):
        for step in hook.steps(STEPS):
            loss = loss_of(model, *batches.at(step))
            loss.backward()  # type: ignore[no-untyped-call]
            hook.clip_grad_norm_(1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            hook.observe(loss)
            if step % EVALUATE_EVERY == EVALUATE_EVERY - 1:
                with torch.no_grad():
                    hook.evaluated(val_loss=loss_of(model, *batches.at(1_000_000 + step)))
    return list(heard)


def main() -> None:
    corpus = read_corpus()
    folder = RECORDED / "signals"
    folder.mkdir(parents=True, exist_ok=True)
    client_hook.attachment.LocalBrain = _Ear  # type: ignore[attr-defined]
    for name in OPTIMIZERS:
        lines = "".join(
            json.dumps(
                {"step": one.step, "signals": {key: float(f"{value:.5g}") for key, value in one.signals.items()}}
            )
            + "\n"
            for one in record(name, corpus)
        )
        (folder / f"{name}.jsonl.gz").write_bytes(gzip.compress(lines.encode(), mtime=0))
        print(name, flush=True)


if __name__ == "__main__":
    main()
