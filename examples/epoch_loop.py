"""The commonest loop: ``for epoch …: for batch in loader …``. It knows nothing of steps and need not.

After a rollback the model goes back and the data simply goes on. With ``hook.batches(loader)`` the hook can also
pass over a window of batches: the trouble may lie in them. The schedule is stepped once per epoch here.

    python -m examples.epoch_loop --fault  # a shard in the fourth epoch was written without normalisation
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import client_hook

EPOCHS, SAMPLES, BATCH_SIZE, CLASSES, FEATURES = 8, 4096, 32, 8, 20
BAD_EPOCH, BAD_BATCHES = 3, range(40, 70)


def train(checkpoints: str, *, fault: bool = False) -> float:
    """Classify noisy clusters; the share of right answers on clean data at the end."""
    torch.manual_seed(0)
    centers = torch.randn(CLASSES, FEATURES)
    loader = DataLoader(clusters(SAMPLES, centers), batch_size=BATCH_SIZE, shuffle=True)
    model = nn.Sequential(nn.Linear(FEATURES, 64), nn.ReLU(), nn.Linear(64, CLASSES))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.7)

    with client_hook.attach(
        model,
        optimizer,
        run="epoch-loop",
        mode="act",
        scheduler=scheduler,
        checkpoints=checkpoints,
        checkpoint_every=50,
    ) as hook:
        for epoch in range(EPOCHS):
            for number, (features, classes) in enumerate(hook.batches(loader)):
                if fault and epoch == BAD_EPOCH and number in BAD_BATCHES:
                    features = 300 * features + 100
                loss = nn.functional.cross_entropy(model(features), classes)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                outcome = hook.observe(loss)
                if outcome.action:
                    print(f"epoch {epoch}, step {outcome.step}: {outcome.reason}")
            scheduler.step()

    features, classes = clusters(SAMPLES, centers).tensors
    right = float((model(features).argmax(dim=1) == classes).float().mean())
    print(f"right answers {right:.1%}, learning-rate multiplier {hook.lr_scale:g}")
    return right


def clusters(count: int, centers: torch.Tensor) -> TensorDataset:
    """Points around the centers, float (count, features), and which center, int64 (count,)."""
    classes = torch.randint(len(centers), (count,))
    return TensorDataset(centers[classes] + torch.randn(count, centers.shape[1]), classes)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fault", action="store_true", help="let it go wrong")
    parser.add_argument("--checkpoints", default="checkpoints/epoch-loop")
    options = parser.parse_args()
    Path(options.checkpoints).mkdir(parents=True, exist_ok=True)
    train(options.checkpoints, fault=options.fault)
