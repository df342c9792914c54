"""A small CNN on scikit-learn's digits, by SGD with momentum."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn
from torch.optim import SGD

from benchmarks.recovery.workloads.base import Tensors, Training

BATCH, RATE = 32, 0.05
KEPT_BACK = 360


@cache
def images() -> Tensors:
    """All 1,797 digits: float (n, 1, 8, 8) from 0 to 1, and their classes, int64 (n,)."""
    from sklearn.datasets import load_digits  # type: ignore[import-untyped]

    digits = load_digits()
    order = torch.randperm(len(digits.target), generator=torch.Generator().manual_seed(0))
    pixels = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    return pixels[order], torch.tensor(digits.target, dtype=torch.int64)[order]


def build(seed: int) -> Training:
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 24, 3, padding=1, stride=2), nn.ReLU(),
        nn.Flatten(), nn.Dropout(0.25), nn.Linear(24 * 16, 10),
    )  # fmt: skip
    pixels, classes = images()

    def forward(tensors: Tensors) -> Tensor:
        inputs, targets = tensors
        # Smoothed labels keep the loss of an almost perfect classifier away from 0, where 3 % would mean nothing.
        return nn.functional.cross_entropy(model(inputs), targets, label_smoothing=0.1)

    def draw(generator: torch.Generator) -> Tensors:
        chosen = torch.randint(KEPT_BACK, len(pixels), (BATCH,), generator=generator)
        return pixels[chosen], classes[chosen]

    @torch.no_grad()
    def validate() -> float:
        model.eval()
        loss = forward((pixels[:KEPT_BACK], classes[:KEPT_BACK])).item()
        model.train()
        return loss

    return Training(model, [SGD(model.parameters(), lr=RATE, momentum=0.9)], forward, validate, draw)
