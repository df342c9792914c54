"""What recovery costs in time: a rollback from memory, and checkpoints every 100 steps in memory and on disk.

``python -m benchmarks.recovery.timing`` prints its figures as JSON. All are shares of, or counted in, the bare step
of the same training, so that a busy machine falls on both sides.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import time
from pathlib import Path
from statistics import fmean, median
from typing import Any
from uuid import uuid4

import torch
from torch.optim import AdamW

import client_hook
from client_hook.recovery.checkpoints import Checkpoints, MemoryCheckpoints
from examples.char_gpt.corpus import VOCABULARY_SIZE
from examples.char_gpt.model import CharGPT, Shape, loss_of
from trainguard.wire import Command, Rollback

SMALL = Shape(vocabulary=VOCABULARY_SIZE, context=64, width=128, heads=4, blocks=4)
LARGE = Shape(vocabulary=256, context=128, width=384, heads=6, blocks=6)
EVERY = 100
FOLLOWING = 20
"""Steps after a checkpoint in which its writing may take time from the loop."""


class Loop:
    """A GPT in training, with the seconds of each step and of each ``observe``."""

    def __init__(self, shape: Shape, checkpoints: str | Checkpoints, every: int) -> None:
        torch.manual_seed(0)
        self.shape = shape
        self.model = CharGPT(shape)
        self.optimizer = AdamW(self.model.parameters(), lr=1e-4)
        self.hook = client_hook.attach(
            self.model, self.optimizer, run="timing", mode="act", checkpoints=checkpoints, checkpoint_every=every
        )
        self.step_seconds: list[float] = []
        self.observe_seconds: list[float] = []

    def step(self) -> None:
        began = time.perf_counter()
        tokens = torch.randint(0, self.shape.vocabulary, (8, self.shape.context + 1))
        loss = loss_of(self.model, tokens[:, :-1], tokens[:, 1:])
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.optimizer.zero_grad()
        made = time.perf_counter()
        self.hook.observe(loss.detach())
        ended = time.perf_counter()
        self.step_seconds.append(ended - began)
        self.observe_seconds.append(ended - made)


def rollback_from_memory(shape: Shape, rollbacks: int) -> dict[str, Any]:
    """Median seconds of a step that rolls back, beyond an ordinary one, over the ordinary one."""
    loop = Loop(shape, MemoryCheckpoints(), every=1_000_000)
    hook = loop.hook
    assert hook._training.keeper is not None
    [first] = hook._training.keeper.reports()
    for _ in range(3):
        loop.step()
    seconds = []
    for _ in range(rollbacks):
        for _ in range(2):
            loop.step()
        # Straight into the inbox, past the network: only what the loop itself waits for is measured.
        now = time.time()
        hook._inbox.append(
            Command(
                command_id=uuid4(),
                attempt=hook.attempt,
                revision=hook._training.position.revision,
                orders=(Rollback(checkpoint_id=first.checkpoint_id),),
                issued_at=now,
                expires_at=now + 60,
            )
        )
        attempt = hook.attempt
        loop.step()
        assert hook.attempt == attempt + 1, "the rollback was not applied"
        seconds.append(loop.observe_seconds.pop())
        loop.step_seconds.pop()
    hook.close()
    step = median(loop.step_seconds)
    extra = median(seconds) - median(loop.observe_seconds)
    return {
        "parameters": sum(p.numel() for p in loop.model.parameters()),
        "step_ms": 1_000 * step,
        "rollback_ms": 1_000 * extra,
        "steps_time": extra / step,
        "rollbacks": rollbacks,
    }


def checkpoint_share(checkpoints: str | Checkpoints, cycles: int) -> dict[str, Any]:
    """The share of the loop's time that a checkpoint every 100 steps takes.

    Taken by ``observe`` itself, which holds the loop up while it copies; and by the steps that follow, which share
    the machine with the thread that writes.
    """
    loop = Loop(SMALL, checkpoints, EVERY)
    for _ in range(cycles * EVERY + FOLLOWING + 1):
        loop.step()
    loop.hook.close()
    taken = [at for at in range(EVERY, len(loop.step_seconds) + 1) if at % EVERY == 0]
    held_up = median(loop.observe_seconds[at - 1] for at in taken) - median(loop.observe_seconds)
    bare = median(loop.step_seconds)
    after = fmean(median(loop.step_seconds[at + k] for at in taken) for k in range(FOLLOWING)) - bare
    return {
        "parameters": sum(p.numel() for p in loop.model.parameters()),
        "step_ms": 1_000 * bare,
        "held_up_ms": 1_000 * held_up,
        "held_up_share": held_up / (EVERY * bare),
        "following_share": FOLLOWING * after / (EVERY * bare),
        "checkpoints": len(taken),
    }


def main(is_quick: bool) -> None:
    logging.getLogger("trainguard").setLevel(logging.CRITICAL)
    torch.set_num_threads(1)
    cycles = 3 if is_quick else 6
    report: dict[str, Any] = {"rollback": [rollback_from_memory(SMALL, 5 if is_quick else 15)]}
    if not is_quick:
        report["rollback"].append(rollback_from_memory(LARGE, 5))
    report["memory"] = checkpoint_share(MemoryCheckpoints(), cycles)
    with tempfile.TemporaryDirectory(prefix="bench-recovery-") as folder:
        report["disk"] = checkpoint_share(str(Path(folder) / "checkpoints"), cycles)
    print(json.dumps(report))


if __name__ == "__main__":
    main("quick" in sys.argv[1:])
