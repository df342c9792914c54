"""The example's GPT on the standard library's source, smaller still."""

from __future__ import annotations

import sysconfig
from functools import cache
from pathlib import Path

import torch
from torch import Tensor
from torch.optim import AdamW

from benchmarks.recovery.workloads.base import Tensors, Training, validation_of
from examples.char_gpt.corpus import VOCABULARY_SIZE, Corpus, batch_of, encode, read_corpus
from examples.char_gpt.model import CharGPT, Shape, loss_of

CONTEXT, BATCH, RATE = 32, 12, 5e-3


@cache
def corpus() -> Corpus:
    return read_corpus(max_characters=1_000_000)


@cache
def prose() -> Tensor:
    """English of another kind: the help texts that come with Python."""
    text = (Path(sysconfig.get_paths()["stdlib"]) / "pydoc_data" / "topics.py").read_text(encoding="utf-8")
    return encode(text[:400_000])


def build(seed: int) -> Training:
    torch.manual_seed(seed)
    model = CharGPT(Shape(vocabulary=VOCABULARY_SIZE, context=CONTEXT, width=48, heads=4, blocks=1))

    def forward(tensors: Tensors) -> Tensor:
        return loss_of(model, *tensors)

    def draw(generator: torch.Generator) -> Tensors:
        return batch_of(corpus().training, generator, BATCH, CONTEXT)

    def kept_back(generator: torch.Generator) -> Tensors:
        return batch_of(corpus().validation, generator, 64, CONTEXT)

    return Training(
        model,
        [AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.95), weight_decay=0.1)],
        forward,
        lambda: validation_of(forward, kept_back, model, 12),
        draw,
    )
