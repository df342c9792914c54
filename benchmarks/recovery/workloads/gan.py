"""A small GAN on eight Gaussians in a ring: its losses swing by nature, and nothing is the matter."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from torch.optim import Adam, Optimizer

from benchmarks.recovery.workloads.base import Batch, MayUpdate, Tensors, Training

BATCH, NOISE, RATE = 64, 8, 1e-3


class Pair(nn.Module):
    """Generator and discriminator."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = nn.Sequential(nn.Linear(NOISE, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, 2))
        self.judge = nn.Sequential(nn.Linear(2, 48), nn.LeakyReLU(0.2), nn.Linear(48, 48), nn.LeakyReLU(0.2),
                                   nn.Linear(48, 1))  # fmt: skip


class GanTraining(Training):
    """Two updates an iteration, one of each half; the loss is the sum of both."""

    def iterate(self, batch: Batch, may_update: MayUpdate) -> Tensor:
        pair, (of_judge, of_generator) = self.model, _two(self.optimizers)
        assert isinstance(pair, Pair)
        real, first, second = batch.tensors
        fake = pair.generator(first)
        judging = (softplus(-pair.judge(real)) + softplus(pair.judge(fake.detach()))).mean()
        judging.backward()  # type: ignore[no-untyped-call]
        if may_update(judging):
            of_judge.step()
        of_judge.zero_grad()
        of_generator.zero_grad()
        making = softplus(-pair.judge(pair.generator(second))).mean()
        making.backward()  # type: ignore[no-untyped-call]
        if may_update(making):
            of_generator.step()
        self._advance()
        return (judging + making).detach()


def _two(optimizers: Sequence[Optimizer]) -> tuple[Optimizer, Optimizer]:
    first, second = optimizers
    return first, second


def build(seed: int) -> Training:
    torch.manual_seed(seed)
    pair = Pair()

    def draw(generator: torch.Generator) -> Tensors:
        angles = torch.randint(8, (BATCH,), generator=generator) * (math.pi / 4)
        ring = 2 * torch.stack([angles.cos(), angles.sin()], dim=1)
        noise = torch.randn(2, BATCH, NOISE, generator=generator)
        return ring + 0.05 * torch.randn(BATCH, 2, generator=generator), noise[0], noise[1]

    optimizers = [Adam(half.parameters(), lr=RATE, betas=(0.5, 0.999)) for half in (pair.judge, pair.generator)]
    # No loss tells how good a GAN is; here it is only watched.
    return GanTraining(pair, optimizers, lambda tensors: tensors[0].sum(), lambda: math.nan, draw)
