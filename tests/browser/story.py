"""Runs to look at, told to the service as a trainer would."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import httpx

from tests.monitor_server.service import Trainer, block_of
from trainguard.wire import CheckpointReport, Envelope, Evaluation, Receipt

TOTAL_STEPS = 600
FAULT_AT = 300
CHECKPOINT_EVERY = 100


def healthy(step: int) -> float:
    """A loss that falls, with a wave in place of noise: the same picture every time."""
    return 1.4 + 3.0 * math.exp(-step / 90) + 0.03 * math.sin(1.7 * step)


def diverging(step: int) -> float:
    return healthy(FAULT_AT) * 1.05 ** (step - FAULT_AT + 1)


class Sender:
    """Sends what a trainer has to say."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def register(self, trainer: Trainer) -> None:
        assert self._post("/api/v1/runs", trainer.description().model_dump_json()).status_code == 201

    def send(self, envelope: Envelope) -> Receipt:
        response = self._post(f"/api/v1/runs/{envelope.run_id}/envelopes", envelope.model_dump_json())
        assert response.status_code == 200, response.text
        return Receipt.model_validate_json(response.content)

    def train(
        self,
        trainer: Trainer,
        losses: list[float],
        *,
        lr_scale: float = 1.0,
        checkpoints: Sequence[CheckpointReport] = (),
    ) -> Receipt:
        """The next steps, observed now."""
        count = len(losses)
        block = block_of(
            trainer.attempt,
            trainer.step,
            losses,
            grad_norm=[1.0 + 0.2 * math.sin(step) for step in range(count)],
            learning_rate=[3e-4] * count,
            lr_scale=[lr_scale] * count,
        ).model_copy(update={"observed_at": [time.time()] * count})
        trainer.step += count
        return self.send(trainer.envelope(blocks=[block], checkpoints=list(checkpoints)))

    def healthy_run(self, **description: Any) -> Trainer:
        """A run that has made a third of its steps."""
        trainer = Trainer(total_steps=TOTAL_STEPS, **description)
        self.register(trainer)
        self.train(trainer, [healthy(step) for step in range(TOTAL_STEPS // 3)])
        return trainer

    def rescued_run(self, **description: Any) -> Trainer:
        """A run that diverged, was rolled back, and trains on with half the rate."""
        trainer = Trainer(total_steps=TOTAL_STEPS, **description)
        self.register(trainer)
        known: list[CheckpointReport] = []
        for start in range(0, FAULT_AT, CHECKPOINT_EVERY):
            known.append(trainer.checkpoint(start))
            losses = [healthy(step) for step in range(start, start + CHECKPOINT_EVERY)]
            self.train(trainer, losses, checkpoints=known)
        (command,) = self.train(trainer, [diverging(FAULT_AT + step) for step in range(60)]).commands
        self.send(trainer.obey(command, known))
        self.train(trainer, [healthy(step) for step in range(trainer.step, 500)], lr_scale=0.5)
        measured = [
            Evaluation(attempt=int(step > 200), step=step, evaluated_at=1.0, values={"val_loss": healthy(step) + 0.3})
            for step in range(100, 501, 100)
        ]
        self.send(trainer.envelope(evaluations=measured))
        return trainer

    def _post(self, path: str, body: str) -> httpx.Response:
        return self._client.post(path, content=body, headers={"content-type": "application/json"})
