"""What `evaluated` reports reaches the detectors in its place among the observations."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import client_hook
from client_hook.local_brain import LocalBrain
from tests.client_hook.matrix.observations import attach, listen
from trainguard.wire import Observation


def test_the_validation_loss_is_a_signal_of_the_next_observation(monkeypatch, tmp_path) -> None:  # type: ignore[no-untyped-def]
    seen: list[Observation] = []
    watch = LocalBrain._watch
    monkeypatch.setattr(LocalBrain, "_watch", lambda self, one: seen.append(one) or watch(self, one))  # type: ignore[func-returns-value]
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with client_hook.attach(model, optimizer, run="evaluated", checkpoints=tmp_path, synchronous=True) as hook:
        for step in hook.steps(4):
            loss = model(torch.ones(1, 2)).square().mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            hook.observe(loss)
            if step == 1:
                hook.evaluated(accuracy=0.5, eval_loss=torch.tensor(2.25))

    assert [one.get("val_loss") for one in seen] == [None, None, 2.25, None]


def test_what_is_no_number_is_left_out_and_costs_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    model = nn.Linear(2, 1)
    hook = attach(model, torch.optim.SGD(model.parameters(), lr=0.01))
    heard = listen(hook)
    for _ in range(30):  # more often than the hook's own faults may be
        hook.accumulate("high")
        hook.accumulate(2.0)
        hook.evaluated(note="x")
        hook.evaluated(confusion=[[1, 2]], val_loss=3.0)
        hook.observe(sample="a")
    hook.close()
    assert [(one.signals["loss"], one.signals["val_loss"]) for one in heard] == [(2.0, 3.0)] * 30
    assert len([message for message in caplog.messages if "left out" in message]) == 4  # each once a minute
