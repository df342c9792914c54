"""Runs worth a picture: noise, schedules, a rescue, a proposal that waits, the same picture every time."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from typing import Any

from tests.browser.story import Sender
from tests.monitor_server.service import Trainer, block_of
from trainguard.wire import CheckpointReport, Evaluation, Receipt

TOTAL = 3000
WARM_UP = 150
CONFIG: dict[str, Any] = {
    "optimizers": [{"class": "AdamW", "groups": [{"lr": 6e-4, "betas": [0.9, 0.95], "weight_decay": 0.1}]}],
    "scheduler": "LambdaLR",
    "precision": "bf16",
    "parameters": 10_788_929,
    "versions": {"torch": "2.13.0", "trainguard": "0.1.0"},
}

LAYERS = ("wte", *(f"h.{block}.{part}" for block in range(1, 5) for part in ("attn", "mlp")))

Losses = Callable[[int], float]


class Scene:
    """One run, told with every signal that a hook would measure."""

    def __init__(self, sender: Sender, seed: int, **description: Any) -> None:
        self._sender = sender
        self._chance = random.Random(seed)
        self._scale = 1.0
        self._known: list[CheckpointReport] = []
        self._began = 0
        self.trainer = Trainer(
            total_steps=TOTAL,
            config=CONFIG,
            hostname="gpu-07",
            checkpoint_every=200,
            **{"started_at": time.time(), **description},
        )
        sender.register(self.trainer)

    def falling(self, step: int) -> float:
        """A loss as trainings have it: a quick fall, a long one, and noise."""
        return 1.32 + 2.4 * math.exp(-step / 140) + 0.6 * math.exp(-step / 900) + self._chance.gauss(0, 0.028)

    def train(self, to: int, losses: Losses | None = None, *, pieces: int = 100) -> Receipt:
        """Make the steps to before ``to``, with a checkpoint every 200; the last receipt."""
        losses = losses or self.falling
        receipt = None
        while self.trainer.step < to:
            start = self.trainer.step
            if start % 200 == 0 and losses == self.falling:
                self._known.append(self.trainer.checkpoint(start))
            steps = range(start, min(to, start + pieces))
            receipt = self._send([losses(step) for step in steps], steps)
            if receipt.commands:
                break
        assert receipt is not None
        return receipt

    def obey(self, receipt: Receipt) -> None:
        """Do what the receipt orders, and say that it is done."""
        (command,) = receipt.commands
        for one in command.orders:
            if one.action in ("lower_learning_rate", "scale_learning_rate"):
                self._scale *= one.factor
        self._sender.send(self.trainer.obey(command, self._known))
        if command.action == "rollback":
            self._began = self.trainer.step

    def evaluate(self, *steps: int) -> None:
        """A validation loss at each of ``steps``, in the attempt in force."""
        measured = [
            Evaluation(
                attempt=self.trainer.attempt if step > self._began else 0,
                step=step,
                evaluated_at=time.time(),
                values={"val_loss": self.falling(step) + 0.06},
            )
            for step in steps
        ]
        self._sender.send(self.trainer.envelope(evaluations=measured))

    def end(self, state: str) -> None:
        """The last word."""
        self._sender.send(self.trainer.envelope(state=state))

    def _send(self, losses: list[float], steps: range) -> Receipt:
        norms = [
            0.55
            + 2.2 * math.exp(-step / 120)
            + 0.35 * max(0.0, loss - self.falling(step))
            + self._chance.expovariate(9)
            for step, loss in zip(steps, losses)
        ]
        block = block_of(
            self.trainer.attempt,
            steps.start,
            losses,
            grad_norm=norms,
            update_ratio=[1.1e-3 * self._scale * _schedule(step) * self._chance.uniform(0.9, 1.1) for step in steps],
            learning_rate=[6e-4 * _schedule(step) for step in steps],
            lr_scale=[self._scale] * len(steps),
            **self._layers(steps, norms),
            step_seconds=[0.212 + abs(self._chance.gauss(0, 0.008)) + 0.19 * (step % 200 == 0) for step in steps],
        ).model_copy(update={"observed_at": [time.time()] * len(steps)})
        self.trainer.step = steps.stop
        return self._sender.send(self.trainer.envelope(blocks=[block], checkpoints=self._known))

    def _layers(self, steps: range, norms: list[float]) -> dict[str, list[float | None]]:
        """What every fiftieth step measures of each layer; a trouble shows in the middle of the model first."""
        columns: dict[str, list[float | None]] = {}
        for depth, name in enumerate(LAYERS):
            share = 0.25 + 0.5 * math.exp(-depth / 3) + 0.9 * (1.0 if "h.3" in name else 0.15)
            for signal, size in (("grad_norm", 1.0), ("update_ratio", 2e-3)):
                columns[f"{signal}/{name}"] = [
                    size * share * max(norm, 0.1) ** (1.6 if "h.3" in name else 1) * self._chance.uniform(0.8, 1.25)
                    if step % 50 == 0 or norm > 5
                    else None
                    for step, norm in zip(steps, norms)
                ]
        return columns


def _schedule(step: int) -> float:
    if step < WARM_UP:
        return (step + 1) / WARM_UP
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (step - WARM_UP) / (TOTAL - WARM_UP)))


def rescued(sender: Sender, **description: Any) -> Trainer:
    """Diverges at step 1,450, is rolled back, and trains on."""
    scene = Scene(sender, 1, **{"run": "char-gpt-10m", "project": "language", "mode": "act"} | description)
    scene.train(1450)
    for _ in range(3):
        receipt = scene.train(1800, lambda step: scene.falling(1450) * 1.03 ** max(0, step - 1450), pieces=20)
        if receipt.commands:
            break
    scene.obey(receipt)
    while scene.trainer.step < 2210:  # recovered, it is given its rate back in steps
        receipt = scene.train(2210)
        if receipt.commands:
            scene.obey(receipt)
    scene.evaluate(*range(200, 2201, 200))
    return scene.trainer


def waiting(sender: Sender, **description: Any) -> Trainer:
    """Diverges in mode ``advise``: a proposal waits for a person."""
    scene = Scene(sender, 2, **{"run": "vision-large", "project": "vision", "mode": "advise"} | description)
    scene.train(900)
    scene.train(980, lambda step: scene.falling(900) * 1.035 ** max(0, step - 900), pieces=20)
    return scene.trainer


def gallery(sender: Sender) -> tuple[Trainer, Trainer]:
    """Several projects' runs; the rescued one and the one that waits."""
    for seed, (name, project, steps, state) in enumerate(
        [
            ("speech-base", "speech", TOTAL, "finished"),
            ("char-gpt-3m", "language", TOTAL, "finished"),
            ("speech-small", "speech", 700, "failed"),
            ("vision-small", "vision", 1240, ""),
            ("gan-faces", "vision", 2050, ""),
        ]
    ):
        scene = Scene(
            sender, 10 + seed, run=name, project=project, mode="act", tags={"team": project[:2], "seed": str(seed)}
        )
        scene.train(steps)
        if state == "failed":
            scene.train(steps + 1, lambda step: math.nan)
        if state:
            scene.end(state)
    return rescued(sender, tags={"team": "nl", "seed": "7"}), waiting(sender, tags={"team": "cv", "seed": "2"})
