from __future__ import annotations

import torch
from torch import nn

from tests.client_hook.signals.watching import Watch


def test_samples_and_tokens_are_divided_by_the_time_of_the_step() -> None:
    now = [0.0]
    model = nn.Linear(1, 1)
    watch = Watch(model, torch.optim.SGD(model.parameters(), lr=0.1), clock=lambda: now[0])
    assert "samples_per_second" not in watch.observe(samples=8)  # the first step has no time
    now[0] = 2.0
    values = watch.observe(samples=8, tokens=1000)
    assert (values["samples_per_second"], values["tokens_per_second"]) == (4.0, 500.0)
    assert "tokens_per_second" not in watch.observe(samples=8)
