"""A real training in a thread: torch, the real hook, a fault when told, and steps until told to stop."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType

import torch
from torch import nn

import client_hook

RATE = 0.05
STEP_SECONDS = 0.004


class RealTraining:
    """A small network that learns a product, in mode ``advise``."""

    def __init__(self, server: str, checkpoints: Path) -> None:
        torch.manual_seed(0)
        self._model = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 1))
        self._optimizer = torch.optim.SGD(self._model.parameters(), lr=RATE, momentum=0.9)
        self._hook = client_hook.attach(
            self._model,
            self._optimizer,
            run="real",
            project="tests",
            server=server,
            mode="advise",
            checkpoints=str(checkpoints),
            checkpoint_every=50,
        )
        self.run_id = str(self._hook.run_id)
        self.rolled_back_to: int | None = None
        self.is_faulty = threading.Event()
        self._is_over = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._train, name="real-training")

    def _train(self) -> None:
        try:
            while not self._is_over.wait(STEP_SECONDS):
                self._step()
        except BaseException as error:
            self._failure = error
        finally:
            self._hook.close()

    def _step(self) -> None:
        inputs = torch.rand(64, 2) * 2 - 1
        loss = nn.functional.mse_loss(self._model(inputs), inputs.prod(dim=1, keepdim=True))
        loss.backward()
        if self.is_faulty.is_set():
            with torch.no_grad():
                for parameter in self._model.parameters():
                    parameter += 0.02 * torch.randn_like(parameter)
        self._optimizer.step()
        self._optimizer.zero_grad()
        outcome = self._hook.observe(loss)
        if outcome.rolled_back:
            self.is_faulty.clear()
            self.rolled_back_to = outcome.next_step

    def __enter__(self) -> RealTraining:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join(timeout=60)
        if self._failure is not None:
            raise self._failure
