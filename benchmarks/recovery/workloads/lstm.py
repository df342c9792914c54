"""A language model of one LSTM layer on the standard library's source, and a plain recurrent one by SGD."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from benchmarks.recovery.workloads.base import Tensors, Training, validation_of
from benchmarks.recovery.workloads.char_gpt import corpus
from examples.char_gpt.corpus import VOCABULARY_SIZE, batch_of

CONTEXT, BATCH, RATE, PLAIN_RATE = 24, 16, 4e-3, 1.0


class LanguageModel(nn.Module):
    """Logits of the next character: int64 (batch, length) to float (batch, length, vocabulary)."""

    def __init__(self, layer: nn.RNNBase, width: int) -> None:
        super().__init__()
        self.characters = nn.Embedding(VOCABULARY_SIZE, layer.input_size)
        self.recurrent = layer
        self.out = nn.Linear(width, VOCABULARY_SIZE)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden, _ = self.recurrent(self.characters(inputs))
        out: Tensor = self.out(hidden)
        return out


def build(seed: int) -> Training:
    torch.manual_seed(seed)
    model = LanguageModel(nn.LSTM(32, 64, batch_first=True), 64)
    return _training(model, Adam(model.parameters(), lr=RATE))


def build_plain(seed: int) -> Training:
    torch.manual_seed(seed)
    layer = nn.RNN(32, 64, batch_first=True, nonlinearity="relu")
    with torch.no_grad():
        # The identity, as is usual for rectified recurrent layers (Le et al. 2015, arXiv:1504.00941).
        nn.init.eye_(layer.get_parameter("weight_hh_l0"))
        layer.get_parameter("weight_ih_l0").mul_(0.1)
    model = LanguageModel(layer, 64)
    return _training(model, SGD(model.parameters(), lr=PLAIN_RATE, momentum=0.9))


def _training(model: LanguageModel, optimizer: Optimizer) -> Training:
    def forward(tensors: Tensors) -> Tensor:
        inputs, targets = tensors
        return nn.functional.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())

    def draw(generator: torch.Generator) -> Tensors:
        return batch_of(corpus().training, generator, BATCH, CONTEXT)

    def kept_back(generator: torch.Generator) -> Tensors:
        return batch_of(corpus().validation, generator, 64, CONTEXT)

    return Training(model, [optimizer], forward, lambda: validation_of(forward, kept_back, model, 12), draw)
