"""A hook and a service that wants tokens: a wrong one is a complaint in the trainer, and never a stop."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

import client_hook
from monitor_server.access import make_token
from monitor_server.settings import Settings
from monitor_server.storage import tokens
from tests.monitor_server.running import Running


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Running]:
    running = Running(Settings(database=f"sqlite:///{tmp_path / 'trainguard.db'}"))
    yield running
    running.stop()


def token(service: Running, scope: str) -> str:
    made = make_token(scope, [scope], now=time.time(), created_by="a test")  # type: ignore[list-item]
    with service.app.state.service.database.write() as connection:
        tokens.add(connection, made.row)
    service.app.state.service.keeper.forget()
    return made.word


def train(service: Running, word: str | None) -> tuple[str, float]:
    """Six steps of a small model; the run's id, and the last loss."""
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with client_hook.attach(
        model, optimizer, run="small", server=service.address, token=word, mode="advise", synchronous=True
    ) as hook:
        for _ in hook.steps(6):
            loss = model(torch.ones(2, 4)).square().mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            hook.observe(loss)
        return str(hook.run_id), loss.item()


def test_a_trainer_without_a_good_token_complains_and_trains_on(
    service: Running, caplog: pytest.LogCaptureFixture
) -> None:
    good, only_reads = token(service, "ingest"), token(service, "read")
    reader = {"authorization": f"Bearer {only_reads}"}
    losses = set()
    for word, complaint in (
        (None, "does not accept the token (401)"),
        ("tg_0_x", "does not accept the token (401)"),
        (only_reads, "does not accept the token (403)"),
        (good, ""),
    ):
        caplog.clear()
        with caplog.at_level(logging.INFO):
            run_id, loss = train(service, word)
        losses.add(loss)
        assert complaint in caplog.text
        assert "Traceback" not in caplog.text
        answer = service.client.get(f"/runs/{run_id}", headers=reader)
        assert answer.status_code == (404 if complaint else 200)
    assert len(losses) == 1
    assert answer.json()["observations"] == 6
