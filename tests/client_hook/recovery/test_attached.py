"""Recovery's promises where they meet the loop: through ``client_hook.attach`` and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD

import client_hook
from client_hook.recovery.checkpoints import DirectoryCheckpoints, MemoryCheckpoints


class Failing(SGD):
    """Raises in the step that it is told to, as where memory runs out."""

    fails = False

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        if self.fails:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return super().step(closure)


def test_a_step_that_raised_and_was_caught_leaves_no_lowered_rate_in_a_checkpoint() -> None:
    model = nn.Linear(2, 1)
    optimizer = Failing(model.parameters(), lr=0.1)
    store = MemoryCheckpoints()
    with client_hook.attach(
        model, optimizer, mode="act", checkpoints=store, checkpoint_every=1, synchronous=True
    ) as hook:
        hook._training.rate.scale = 0.5
        loss = model(torch.ones(1, 2)).sum()
        loss.backward()
        optimizer.fails = True
        with pytest.raises(torch.cuda.OutOfMemoryError):
            optimizer.step()
        assert optimizer.param_groups[0]["lr"] == 0.05
        hook.observe(loss)
        assert optimizer.param_groups[0]["lr"] == 0.1
        newest = store.load(store.entries()[-1].checkpoint_id)
        assert newest.optimizers[0]["options"][0]["lr"] == 0.1


def test_weights_that_are_not_finite_at_attach_are_an_error_there(tmp_path: Path) -> None:
    model = nn.Linear(2, 1)
    with torch.no_grad():
        model.bias.fill_(float("nan"))
    for _ in range(2):  # and the folder is not left locked
        with pytest.raises(client_hook.AttachError, match="nothing to roll back to: .*parameter 'bias'"):
            client_hook.attach(model, SGD(model.parameters(), lr=0.1), mode="act", checkpoints=tmp_path / "checkpoints")


def test_a_disk_that_is_full_at_attach_is_an_error_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(DirectoryCheckpoints, "_write_files", refuse)
    model = nn.Linear(2, 1)
    with pytest.raises(client_hook.AttachError, match="No space left on device"):
        client_hook.attach(
            model, SGD(model.parameters(), lr=0.1), mode="act", checkpoints=tmp_path / "checkpoints", synchronous=True
        )
