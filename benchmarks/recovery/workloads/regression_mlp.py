"""Regression by an MLP on Friedman's first function (1991, Annals of Statistics 19), with its noise."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.optim import Adam

from benchmarks.recovery.workloads.base import Tensors, Training, validation_of

FEATURES, BATCH, RATE = 10, 64, 1e-2


def friedman(generator: torch.Generator, count: int) -> Tensors:
    """Uniform inputs, float (count, 10), of which five matter, and targets, float (count, 1), with noise of 1."""
    x = torch.rand(count, FEATURES, generator=generator)
    clean = 10 * torch.sin(math.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]
    return x, (clean + torch.randn(count, generator=generator)).unsqueeze(1)


def build(seed: int) -> Training:
    return _build(seed, half=False)


def build_half(seed: int) -> Training:
    """In half precision under a GradScaler."""
    return _build(seed, half=True)


def _build(seed: int, *, half: bool) -> Training:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(FEATURES, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(tensors: Tensors) -> Tensor:
        inputs, targets = tensors
        with torch.autocast("cpu", dtype=torch.float16, enabled=half):
            predicted = model(inputs)
        return nn.functional.mse_loss(predicted.float(), targets)

    return Training(
        model,
        [Adam(model.parameters(), lr=RATE)],
        forward,
        lambda: validation_of(forward, lambda generator: friedman(generator, 512), model, 8),
        lambda generator: friedman(generator, BATCH),
        scaler=torch.amp.GradScaler("cpu") if half else None,
    )
