"""What `attach` may be asked for beyond the default, and how it refuses what cannot be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import optim

import client_hook
from client_hook.local_brain import Concern
from tests.client_hook.matrix.observations import attach, listen
from tests.client_hook.matrix.trainings import Scorer, loss_of


@pytest.mark.parametrize(
    ("option", "value", "remedy"),
    [
        ("layers_every", 0, "at least 1"),
        ("layers_every", "often", "whole number"),
        ("exact_update_ratio_every", -1, "at least 1"),
        ("activations", 3, "module names"),
        ("activations", "transformer.h.*", "fits no module"),
    ],
)
def test_an_option_that_cannot_be_is_refused_by_name(option: str, value: Any, remedy: str) -> None:
    model = Scorer()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(client_hook.AttachError, match=option) as refusal:
        attach(model, optimizer, **{option: value})
    assert remedy in str(refusal.value)
    assert not optimizer._optimizer_step_pre_hooks
    assert all(not module._forward_hooks for module in model.modules())


def test_after_a_finding_every_layer_is_looked_at() -> None:
    torch.manual_seed(0)
    model = Scorer()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    hook = attach(model, optimizer)
    heard = listen(hook)
    for step in range(4):
        optimizer.zero_grad()
        loss = loss_of(model, step)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if step == 1:
            hook._inbox.append(Concern(onset_step=1, attempt=0, message="the loss jumped", is_critical=False))
        hook.observe(loss)
    assert ["grad_norm/hidden.weight" in one.signals for one in heard] == [False, False, True, False]
    hook.close()


def test_the_wait_for_data_is_that_of_its_step() -> None:
    model = Scorer()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    hook = attach(model, optimizer)
    heard = listen(hook)
    now = [0.0]
    hook._training.data._clock = lambda: now[0]

    def loader() -> Iterator[int]:
        for step in range(3):
            now[0] += 0.25 * (1 + step)
            yield step

    for step in hook.batches(loader()):
        now[0] += 100.0
        loss_of(model, step).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        hook.observe(1.0)
    hook.observe(1.0)
    assert [one.signals["data_wait_seconds"] for one in heard] == [0.25, 0.5, 0.75, 0.0]
    hook.close()


def test_a_throughput_and_a_second_warm_up_are_seen() -> None:
    model = Scorer()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    hook = attach(model, optimizer)
    heard = listen(hook)
    hook._training.rate.rewarm(3)
    for step in range(4):
        optimizer.zero_grad()
        loss = loss_of(model, step)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        hook.observe(loss, samples=8, tokens=64)
    rates = [one.signals.get("effective_learning_rate/0", one.signals["learning_rate"]) for one in heard]
    assert rates == pytest.approx([0.025, 0.05, 0.075, 0.1])
    last = heard[-1].signals
    assert last["samples_per_second"] == pytest.approx(8 / last["step_seconds"])
    assert last["tokens_per_second"] == pytest.approx(64 / last["step_seconds"])
    hook.close()
