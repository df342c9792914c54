"""A hand-written ``while`` that sets the rate itself, at the top of every iteration.

Such a loop overwrites ``param_group["lr"]`` for ever, so nothing that is written there survives. The hook's
multiplier does: it is applied inside ``optimizer.step()``. And ``next_step`` brings the loop's own counter back.

    python -m examples.while_loop --fault  # from step 400 on the schedule forgets its decay, and multiplies
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from torch import nn

import client_hook

STEPS, WARM_UP_STEPS, FAULT_STEP, PEAK_RATE = 1000, 20, 400, 3e-3


def rate_at(step: int, *, fault: bool) -> float:
    """Warm-up and cosine; with the fault, a unit error: the rate is given in thousandths from a step on."""
    rate = PEAK_RATE * min(1.0, (step + 1) / WARM_UP_STEPS) * 0.5 * (1.1 + math.cos(math.pi * step / STEPS))
    return rate * 1000 if fault and step >= FAULT_STEP else rate


def train(checkpoints: str, *, fault: bool = False) -> float:
    """Tell two spirals apart; the share of right answers at the end."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 2))
    optimizer = torch.optim.AdamW(model.parameters())
    optimizer.param_groups[0]["lr"] = rate_at(0, fault=fault)

    with client_hook.attach(
        model, optimizer, run="while-loop", mode="act", checkpoints=checkpoints, checkpoint_every=50
    ) as hook:
        step = hook.next_step
        while step < STEPS:
            for group in optimizer.param_groups:
                group["lr"] = rate_at(step, fault=fault)
            points, classes = spirals(128, generator)
            loss = nn.functional.cross_entropy(model(points), classes)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            outcome = hook.observe(loss, grad_norm=norm)
            if outcome.action:
                print(f"step {outcome.step}: {outcome.reason}")
            step = outcome.next_step

    points, classes = spirals(2048, generator)
    right = float((model(points).argmax(dim=1) == classes).float().mean())
    print(f"right answers {right:.1%}, learning-rate multiplier {hook.lr_scale:g}")
    return right


def spirals(count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Points of two interleaved spirals, float (count, 2), and their classes, int64 (count,)."""
    classes = torch.randint(2, (count,), generator=generator)
    radius = torch.rand(count, generator=generator).sqrt()
    angle = 2.0 * math.pi * radius + math.pi * classes
    points = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)
    return points + 0.02 * torch.randn(count, 2, generator=generator), classes


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fault", action="store_true", help="let it go wrong")
    parser.add_argument("--checkpoints", default="checkpoints/while-loop")
    options = parser.parse_args()
    Path(options.checkpoints).mkdir(parents=True, exist_ok=True)
    train(options.checkpoints, fault=options.fault)
