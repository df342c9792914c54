"""The shortest loop: ``for step in hook.steps(n)``. No service is needed; all is decided in the trainer.

python -m examples.minimal             # a healthy training
python -m examples.minimal --fault     # from step 400 on the learning rate is 100 times too high
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import nn

import client_hook

STEPS, FAULT_STEP, RATE = 1000, 400, 0.05


def train(checkpoints: str, *, fault: bool = False) -> float:
    """Learn a product of two numbers; the loss on fresh data at the end."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9)

    hook = client_hook.attach(model, optimizer, run="minimal", mode="act", checkpoints=checkpoints, checkpoint_every=50)
    for step in hook.steps(STEPS):
        inputs = torch.rand(64, 2) * 2 - 1
        loss = nn.functional.mse_loss(model(inputs), inputs.prod(dim=1, keepdim=True))
        loss.backward()
        hook.clip_grad_norm_(1.0)
        optimizer.param_groups[0]["lr"] = RATE * (100 if fault and step >= FAULT_STEP else 1)
        optimizer.step()
        optimizer.zero_grad()
        outcome = hook.observe(loss)
        if outcome.action:
            print(f"step {outcome.step}: {outcome.reason}")
    hook.close()

    inputs = torch.rand(1024, 2) * 2 - 1
    final = nn.functional.mse_loss(model(inputs), inputs.prod(dim=1, keepdim=True)).item()
    print(f"final loss {final:.4f}, learning-rate multiplier {hook.lr_scale:g}")
    return final


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fault", action="store_true", help="let it go wrong")
    parser.add_argument("--checkpoints", default="checkpoints/minimal")
    options = parser.parse_args()
    Path(options.checkpoints).mkdir(parents=True, exist_ok=True)
    train(options.checkpoints, fault=options.fault)
