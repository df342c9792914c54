"""A real training, watched by the real hook, told of by the real service: the beginning of the whole chain."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

from monitor_server.settings import Settings
from tests.client_hook.little_training import LittleTraining
from tests.dashboards.monitoring_servers import poll
from tests.monitor_server.running import Running

SECONDS_PER_STEP = 0.01
TOO_HIGH = 10_000.0
"""What a bug in the schedule multiplies the rate by."""


class RealTraining:
    """Trains in mode ``advise`` until told to diverge; recovers when what was proposed is approved."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._service = Running(Settings(database=f"sqlite:///{folder / 'trainguard.db'}"))
        self._is_diverging = threading.Event()
        self._is_over = threading.Event()
        self._knows_its_run = threading.Event()
        self._failure: BaseException | None = None
        self._trainer = threading.Thread(target=self._train, name="trainer")
        self.troubled: dict[str, str] = {}

    @property
    def target(self) -> str:
        """Host and port that Prometheus scrapes."""
        return urlsplit(self._service.address).netloc

    def diverge(self) -> None:
        """From the next step on the rate is 10,000 times what it should be."""
        self._is_diverging.set()

    def recover(self) -> None:
        """Approve what is proposed, as a person would."""
        poll(self._approve, "a proposal is approved")

    def _approve(self) -> bool:
        answer = self._service.client.get("/incidents", params={"run_id": self.troubled["run_id"]}).raise_for_status()
        for incident in answer.json()["incidents"]:
            path = f"/incidents/{incident['incident_id']}"
            if self._service.client.get(path).raise_for_status().json()["proposal"] is not None:
                return self._service.client.post(f"{path}/approve", content='{"by": "ada"}').is_success
        return False

    def _train(self) -> None:
        try:
            training = LittleTraining()
            with training.attach(
                run="gpt",
                project="demo",
                server=self._service.address,
                checkpoints=self._folder / "checkpoints",
                checkpoint_every=50,
                mode="advise",
                synchronous=False,
            ) as hook:
                self.troubled = {"project": "demo", "run": "gpt", "run_id": str(hook.run_id)}
                self._knows_its_run.set()
                while not self._is_over.wait(SECONDS_PER_STEP):
                    loss = training.gradients()
                    hook.clip_grad_norm_(1.0)
                    training.update(rate_times=TOO_HIGH if self._is_diverging.is_set() else 1.0)
                    if hook.observe(loss).rolled_back:
                        self._is_diverging.clear()
        except BaseException as error:
            self._failure = error
            self._knows_its_run.set()

    def __enter__(self) -> RealTraining:
        self._trainer.start()
        assert self._knows_its_run.wait(60)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._trainer.join(60)
        self._service.stop()
        if self._failure is not None:
            raise self._failure
