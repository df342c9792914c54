"""The real service with a run in it, in place of the exporter: what dashboards and alerts meet in earnest.

The application of `create_app` behind a real port, on SQLite or another database, and a trainer that speaks the wire
over HTTP. Only the training itself is played.
"""

from __future__ import annotations

import math
import socket
import threading
import time
from pathlib import Path
from types import TracebackType

import httpx
import uvicorn

from monitor_server.app import create_app
from monitor_server.settings import Settings
from tests.dashboards.monitoring_servers import poll
from tests.monitor_server.service import Trainer
from trainguard.wire import CheckpointReport, ObservationBlock, Receipt, Rollback

STEPS_PER_ENVELOPE = 25
SECONDS_PER_ENVELOPE = 0.2
CHECKPOINT_EVERY = 100


class WatchedTraining:
    """A run in mode ``act`` that trains well until told to diverge, and obeys no command until told to recover."""

    def __init__(self, folder: Path, *, database: str = "") -> None:
        self._trainer = Trainer(run="gpt", project="demo", total_steps=100_000, checkpoint_every=CHECKPOINT_EVERY)
        self.troubled = {"project": "demo", "run": "gpt", "run_id": str(self._trainer.run_id)}
        self._checkpoints: list[CheckpointReport] = []
        self._is_diverging = threading.Event()
        self._may_obey = threading.Event()
        self._is_over = threading.Event()
        self._failure: BaseException | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        folder.mkdir(parents=True, exist_ok=True)
        app = create_app(Settings(database=database or f"sqlite:///{folder / 'trainguard.db'}"))
        self._server = uvicorn.Server(uvicorn.Config(app, lifespan="on", log_config=None, access_log=False))
        self._threads = [
            threading.Thread(target=self._server.run, kwargs={"sockets": [self._listener]}, name="service"),
            threading.Thread(target=self._train, name="trainer"),
        ]

    @property
    def target(self) -> str:
        """Host and port that Prometheus scrapes."""
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def exposition(self) -> str:
        """What ``/metrics`` says now."""
        answer = httpx.get(f"http://{self.target}/metrics", timeout=10)
        answer.raise_for_status()
        return answer.text

    def diverge(self) -> None:
        """From the next envelope on the loss runs away."""
        self._is_diverging.set()

    def recover(self) -> None:
        """Obey the command that comes with the next receipt, and train well again."""
        self._may_obey.set()

    def _train(self) -> None:
        try:
            with httpx.Client(base_url=f"http://{self.target}/api/v1", timeout=30) as client:
                self._post(client, "/runs", self._trainer.description().model_dump_json())
                while not self._is_over.wait(SECONDS_PER_ENVELOPE):
                    self._send_and_obey(client)
        except BaseException as error:
            self._failure = error

    def _send_and_obey(self, client: httpx.Client) -> None:
        trainer = self._trainer
        path = f"/runs/{trainer.run_id}/envelopes"
        saved = (
            [] if self._is_diverging.is_set() or trainer.step % CHECKPOINT_EVERY else [trainer.checkpoint(trainer.step)]
        )
        self._checkpoints += saved
        envelope = trainer.envelope(blocks=[self._next_block()], checkpoints=saved)
        trainer.step += STEPS_PER_ENVELOPE
        receipt = Receipt.model_validate_json(self._post(client, path, envelope.model_dump_json()))
        for command in receipt.commands if self._may_obey.is_set() else ():
            if isinstance(command.orders[0], Rollback):  # once recovered, it is given its rate back in steps
                self._is_diverging.clear()
            obeyed = trainer.obey(command, self._checkpoints)
            begun = [one.model_copy(update={"began_at": time.time()}) for one in obeyed.attempts]
            self._post(client, path, obeyed.model_copy(update={"attempts": begun}).model_dump_json())

    def _next_block(self) -> ObservationBlock:
        steps = list(range(self._trainer.step, self._trainer.step + STEPS_PER_ENVELOPE))
        losses = [2 + 2 * math.exp(-step / 400) + 0.01 * (step % 7) for step in steps]
        if self._is_diverging.is_set():
            losses = [9 + 0.1 * index for index in range(STEPS_PER_ENVELOPE)]
        constant = {
            "grad_norm": 1.0,
            "update_ratio": 1e-3,
            "learning_rate": 3e-4,
            "lr_scale": 1.0,
            "step_seconds": 0.01,
        }
        return ObservationBlock(
            attempt=self._trainer.attempt,
            steps=steps,
            observed_at=[time.time()] * STEPS_PER_ENVELOPE,
            signals={"loss": losses, **{name: [value] * STEPS_PER_ENVELOPE for name, value in constant.items()}},
        )

    @staticmethod
    def _post(client: httpx.Client, path: str, body: str) -> bytes:
        answer = client.post(path, content=body, headers={"content-type": "application/json"})
        assert answer.is_success, answer.text
        return answer.content

    def __enter__(self) -> WatchedTraining:
        service, trainer = self._threads
        service.start()
        poll(lambda: self._server.started, "the service is up")
        trainer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        service, trainer = self._threads
        self._is_over.set()
        trainer.join(timeout=60)
        self._server.should_exit = True
        service.join(timeout=60)
        self._listener.close()
        if self._failure is not None:
            raise self._failure
