"""Small snapshots to store."""

from __future__ import annotations

from uuid import UUID, uuid4

import torch
from torch import nn

from client_hook.recovery.checkpoints import Checkpoints
from client_hook.recovery.snapshot import Snapshot, TrainingState


def snapshot_of(value: float, elements: int = 4) -> Snapshot:
    """One whose only parameter holds ``value`` everywhere."""
    model = nn.Module()
    model.weight = nn.Parameter(torch.full((elements,), value))
    return TrainingState(model, torch.optim.SGD(model.parameters(), lr=0.1)).capture()


def value_of(snapshot: Snapshot) -> float:
    """What `snapshot_of` was given, if it is there whole."""
    (value,) = snapshot.model["parameters"]["weight"].unique().tolist()
    return float(value)


def save(store: Checkpoints, step: int, *, elements: int = 4, attempt: int = 0) -> UUID:
    """Save a snapshot that holds its step."""
    checkpoint_id = uuid4()
    store.save(snapshot_of(float(step), elements), checkpoint_id=checkpoint_id, attempt=attempt, step=step)
    return checkpoint_id
