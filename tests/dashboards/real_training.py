"""A real training, watched by the real hook, told of by the real service: what dashboards meet in earnest."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

import httpx

from monitor_server.settings import Settings
from tests.client_hook.little_training import LittleTraining
from tests.dashboards.monitoring_servers import poll
from tests.monitor_server.running import Running

SECONDS_PER_STEP = 0.01
SECONDS_AT_REST = 0.5
"""Per step, once the film is over: the run is to live on, and its tests are not alone on the machine."""
TOO_HIGH = 10_000.0
"""What a bug in the schedule multiplies the rate by."""


class RealTraining:
    """Trains in mode ``advise`` until told to diverge; recovers when what was proposed is approved."""

    def __init__(self, folder: Path, database: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._service = Running(Settings(database=database))
        self._is_diverging = threading.Event()
        self._is_over = threading.Event()
        self._knows_its_run = threading.Event()
        self._seconds_per_step = SECONDS_PER_STEP
        self._failure: BaseException | None = None
        self._trainer = threading.Thread(target=self._train, name="trainer")
        self.labels: dict[str, str] = {}
        """The labels project, run and run_id of its metrics."""

    @property
    def target(self) -> str:
        """Host and port that Prometheus scrapes."""
        return urlsplit(self._service.address).netloc

    def exposition(self) -> str:
        """What ``/metrics`` says now."""
        return httpx.get(f"{self._service.address}/metrics", timeout=60).raise_for_status().text

    def diverge(self) -> None:
        """From the next step on the rate is 10,000 times what it should be."""
        self._is_diverging.set()

    def recover(self) -> None:
        """Approve what is proposed, as a person would, until the trainer has gone back."""
        poll(self._approve, "a proposal is approved and the trainer has gone back", seconds=120)

    def rest(self) -> None:
        """Go on slowly."""
        self._seconds_per_step = SECONDS_AT_REST

    def _approve(self) -> bool:
        # While it gets worse one proposal takes the place of another, and an approval may come too late for both.
        if not self._is_diverging.is_set():
            return True
        answer = self._service.client.get("/incidents", params={"run_id": self.labels["run_id"]}).raise_for_status()
        for incident in answer.json()["incidents"]:
            path = f"/incidents/{incident['incident_id']}"
            if self._service.client.get(path).raise_for_status().json()["proposal"] is not None:
                self._service.client.post(f"{path}/approve", content='{"by": "ada"}')
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
                self.labels = {"project": "demo", "run": "gpt", "run_id": str(hook.run_id)}
                self._knows_its_run.set()
                while not self._is_over.wait(self._seconds_per_step):
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
